"""Activations of twice the resolution from the same weights."""

import pytest
import torch
from torch import nn

from pokecam.common.errors import InputError
from pokecam.networks import backbones, classifier, dilation
from tests.support.networks import CHOSEN, backbone_parameters

IMPOSSIBLE = ("inception_v3", "convnext_tiny", "maxvit_t", "swin_t", "vit_b_32")
ALREADY_FINE = ("vgg11", "alexnet", "squeezenet1_1")


def side(body, size_px=256):
    with torch.no_grad():
        return body.eval()(torch.zeros(1, 3, size_px, size_px)).shape[-1]


@pytest.mark.parametrize("backbone", [name for name in CHOSEN if name not in IMPOSSIBLE])
def test_the_resolution_doubles_and_weights_keep_their_shapes(backbone):
    torch.manual_seed(0)
    body, _ = backbones.split(backbone, 2)
    before, shapes = side(body), [tensor.shape for tensor in body.state_dict().values()]
    dilation.refine(body, backbone)
    assert side(body) == (before if backbone in ALREADY_FINE else 2 * before)
    assert [tensor.shape for tensor in body.state_dict().values()] == shapes
    assert not any(module._forward_hooks for module in body.modules())


@pytest.mark.parametrize("backbone", backbone_parameters(IMPOSSIBLE))
def test_a_network_whose_stride_cannot_be_replaced_is_refused(backbone):
    body, _ = backbones.split(backbone, 2)
    with pytest.raises(InputError, match=f"feature_stride: 16 is not possible for {backbone}"):
        dilation.refine(body, backbone)


def test_dilation_computes_the_coarse_activations_and_those_between():
    """Every second pixel of the fine activations is a pixel of the coarse ones."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, stride=2, padding=1)]
    for _ in range(4):
        layers += [nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2, padding=1)]
    layers += [nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)]
    body = nn.Sequential(*layers)
    x = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        coarse = body(x)
        dilation.refine(body, "resnet18")
        fine = body(x)
    torch.testing.assert_close(fine[..., ::2, ::2], coarse)


def test_a_model_file_holds_the_stride(tmp_path):
    torch.manual_seed(0)
    model = classifier.build_classifier(
        "mobilenet_v3_small", "gap", ["a", "b"], 64, feature_stride=16
    ).eval()
    path = tmp_path / "model.safetensors"
    classifier.save_classifier(model, path, weights="none")
    loaded = classifier.load_classifier(path)
    x = torch.randn(1, 3, 64, 64)
    assert loaded.feature_stride == 16
    with torch.no_grad():
        assert loaded.body(x).shape[-2:] == (4, 4)
        torch.testing.assert_close(loaded(x), model(x))
