"""The gradient tap by tap, against PyTorch's own."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from pokecam.commands.pretrain.depthwise import LARGEST_MAP_PX, use_tap_gradients


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (4, 4)])
def test_gradients_are_those_of_pytorch(height, width):
    torch.manual_seed(0)
    ours = nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False).double()
    reference = copy.deepcopy(ours)
    use_tap_gradients(ours)
    x = torch.randn(3, 6, height, width, dtype=torch.double)
    x = x.contiguous(memory_format=torch.channels_last)
    results = []
    for layer in (ours, reference):
        inputs = x.clone().requires_grad_()
        outputs = layer(inputs)
        (outputs**3).sum().backward()
        results.append((outputs, inputs.grad, layer.weight.grad))
    for tensor, expected in zip(*results, strict=True):
        assert torch.allclose(tensor, expected, rtol=1e-12, atol=1e-12)


def test_it_agrees_with_finite_differences():
    layer = nn.Conv2d(2, 2, 5, padding=2, groups=2, bias=False).double()
    use_tap_gradients(layer)
    x = torch.randn(2, 2, 3, LARGEST_MAP_PX, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_a_network_keeps_its_names_and_a_copy_its_own_weights():
    network = torchvision.models.mobilenet_v3_small().features
    names = list(network.state_dict())
    use_tap_gradients(network)
    duplicate = copy.deepcopy(network)
    assert list(duplicate.state_dict()) == names
    with torch.no_grad():
        for parameter in duplicate.parameters():
            parameter.zero_()
    x = torch.randn(2, 3, 64, 64)
    network.eval(), duplicate.eval()
    assert network(x).abs().max() > 0
    assert duplicate(x).abs().max() == 0


def test_other_convolutions_are_left_alone():
    layers = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 8, 5, padding=2, bias=False),
        nn.Conv2d(4, 4, 5, padding=2, stride=2, groups=4, bias=False),
    )
    use_tap_gradients(layers)
    assert not any("forward" in vars(layer) for layer in layers)
