"""The layers of a network, and maps of a layer other than the last."""

import pytest
import torch

from pokecam.cam.capture import capture
from pokecam.cam.maps import compute_maps
from pokecam.common.errors import InputError
from pokecam.networks import layers
from pokecam.networks.classifier import build_classifier
from tests.support.networks import SIZE_PX


def network(backbone="resnet18", head="gap"):
    torch.manual_seed(0)
    return build_classifier(backbone, head, ["a", "b"], SIZE_PX).eval()


@pytest.mark.parametrize("layer", ["layer3", "layer3.0", "conv1", "layer4.0"])
def test_grad_cam_of_an_earlier_layer_is_that_of_plain_autograd(layer):
    model = network().double()
    x = torch.randn(2, 3, SIZE_PX, SIZE_PX).double()
    outputs = []
    module = model.body.get_submodule(layer)
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    logits = model(x)
    hook.remove()
    (A,) = outputs
    expected = []
    for label in range(2):
        (g,) = torch.autograd.grad(logits[:, label].sum(), A, retain_graph=True)
        expected.append((g.mean(dim=(2, 3), keepdim=True) * A).sum(dim=1).detach())
    captured = capture(layers.cut_at(model, layer), x)
    torch.testing.assert_close(compute_maps(captured, "grad_cam"), torch.stack(expected, dim=1))
    torch.testing.assert_close(captured.logits, logits)


def test_the_default_is_the_network_itself():
    model = network()
    assert layers.cut_at(model, None) is model
    assert layers.cut_at(model, model.cam_layer) is model


def test_layers_that_the_network_lacks_are_refused():
    with pytest.raises(InputError, match=r"no layer layer5.*one of its layers: conv1, bn1"):
        layers.cut_at(network(), "layer5")
    with pytest.raises(InputError, match="cam needs nothing but average pooling"):
        compute_maps(capture(layers.cut_at(network(), "layer2"), torch.zeros(1, 3, 64, 64)), "cam")


def test_only_one_layer_of_a_transformer_can_be_used():
    torch.manual_seed(0)
    model = build_classifier("swin_t", "gap", ["a", "b"], 224)
    with pytest.raises(InputError, match="only the activations of permute form a grid in swin_t"):
        layers.cut_at(model, "features.3")


@pytest.mark.parametrize(
    ("head", "layer"), [("native", "encoder.layers.encoder_layer_10"), ("gap", "encoder.ln")]
)
def test_the_layer_of_a_vision_transformer_has_its_name(head, layer):
    """It is the input of the last of 12 blocks for the native head, its output for the other."""
    assert build_classifier("vit_b_32", head, ["a", "b"], 224).cam_layer == layer


@pytest.mark.parametrize(
    ("backbone", "quarter", "eighth"),
    [
        ("resnet18", "layer1.1", "layer2.1"),
        ("mobilenet_v2", "features.3", "features.6"),
        ("vgg16", "features.15", "features.22"),
        ("swin_t", "features.1.1", "features.3.1"),  # whose maps have channels last
        ("vit_b_32", None, None),  # tokens
    ],
)
def test_the_last_layer_of_at_least_a_side(backbone, quarter, eighth):
    with torch.device("meta"):
        model = build_classifier(backbone, "gap", ["a", "b"], 224)
    assert layers.last_of_side(model, 1 / 4) == quarter
    assert layers.last_of_side(model, 1 / 8) == eighth
    assert layers.last_of_side(model, 2) is None
    assert not any(module._forward_hooks for module in model.modules())
