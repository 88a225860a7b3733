"""Activations of twice the resolution from the same weights."""

import pytest
import torch
from torch import nn

from pokecam.common.errors import InputError
from pokecam.networks import backbones, classifier, dilation
from tests.support.networks import CHOSEN, each

IMPOSSIBLE = ("inception_v3", "convnext_tiny", "maxvit_t", "swin_t", "vit_b_32")
FINE_ALREADY = ("vgg11", "alexnet", "squeezenet1_1")


def side(body, size_px=256):
    with torch.no_grad():
        return body.eval()(torch.zeros(1, 3, size_px, size_px)).shape[-1]


@pytest.mark.parametrize("backbone", [name for name in CHOSEN if name not in IMPOSSIBLE])
def test_the_resolution_doubles_and_weights_keep_their_shapes(backbone):
    torch.manual_seed(0)
    body, _ = backbones.split(backbone, 2)
    before, shapes = side(body), [tensor.shape for tensor in body.state_dict().values()]
    dilation.refine(body, backbone)
    assert side(body) == (before if backbone in FINE_ALREADY else 2 * before)
    assert [tensor.shape for tensor in body.state_dict().values()] == shapes
    assert not any(module._forward_hooks for module in body.modules())


@pytest.mark.parametrize("backbone", each(IMPOSSIBLE))
def test_what_cannot_be_refined_is_refused(backbone):
    body, _ = backbones.split(backbone, 2)
    with pytest.raises(InputError, match=f"feature_stride: 16 is not possible for {backbone}"):
        dilation.refine(body, backbone)


def test_a_refined_layer_sees_what_the_coarse_one_saw():
    """Every second pixel of the fine result is the coarse result: dilation instead of stride."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, stride=2, padding=1) for _ in range(1)]
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


def test_a_classifier_remembers_its_stride(tmp_path):
    torch.manual_seed(0)
    model = classifier.build_classifier(
        "mobilenet_v3_small", "gap", ["a", "b"], 64, feature_stride=16
    ).eval()
    path = tmp_path / "model.safetensors"
    classifier.save_classifier(model, path, weights="none")
    again = classifier.load_classifier(path)
    x = torch.randn(1, 3, 64, 64)
    assert again.feature_stride == 16
    with torch.no_grad():
        assert again.body(x).shape[-2:] == (4, 4)
        torch.testing.assert_close(again(x), model(x))
