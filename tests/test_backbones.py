"""Every network of the table against torchvision's own."""

import pytest
import torch
import torchvision
from torch import nn

from pokecam import backbones
from pokecam.backbones import BACKBONES

N_CLASSES = 3
SIZE_PX = 64


@pytest.fixture(scope="module", params=BACKBONES)
def network(request):
    """(name, torchvision's network in evaluation mode, a batch of two pictures)."""
    torch.manual_seed(0)
    with torch.device("meta"):  # torchvision takes seconds to draw VGG's weights
        built = torchvision.models.get_model(request.param, weights=None, num_classes=N_CLASSES)
    built = built.to_empty(device="cpu").to(memory_format=torch.channels_last).eval()
    for tensor in built.state_dict().values():
        if tensor.ndim > 1:
            spread = tensor[0].numel() ** -0.5
            tensor.uniform_(-spread, 1.5 * spread)
        else:
            tensor.fill_(1)
    x = torch.randn(2, 3, SIZE_PX, SIZE_PX).to(memory_format=torch.channels_last)
    return request.param, built, x


@torch.no_grad()
def test_body_and_head_are_the_whole_network_bit_for_bit(network):
    name, built, x = network
    body, head = BACKBONES[name].split(built)
    assert torch.equal(head(body(x)), built(x))
    names = [*body.state_dict(), *head.state_dict()]
    assert sorted(names) == sorted(built.state_dict())


@torch.no_grad()
def test_the_head_leaves_the_activations_alone(network):
    name, built, x = network
    body, head = BACKBONES[name].split(built)
    A = body(x)
    before = A.clone()
    first = head(A)
    assert torch.equal(A, before)
    assert torch.equal(head(A), first)


def test_activations_come_after_the_activation_function(network):
    """ReLU gives no negative value, hard-swish none below -3/8, its minimum."""
    name, built, x = network
    body, _ = BACKBONES[name].split(built)
    with torch.no_grad():
        A = body(x)
    assert A.min() >= (-0.375 if name.startswith("mobilenet_v3") else 0)
    assert (A > 0).any()


def test_the_last_layer_is_the_one_that_scores_classes(network):
    name, built, _ = network
    last = built.get_submodule(BACKBONES[name].last)
    assert isinstance(last, nn.Linear | nn.Conv2d)
    assert len(last.weight) == len(last.bias) == N_CLASSES


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_the_last_max_pooling_belongs_to_the_head(name):
    with torch.device("meta"):
        body, head = backbones.split(name, N_CLASSES)
    assert isinstance(list(body.modules())[-1], nn.ReLU)
    assert isinstance(head.maxpool, nn.MaxPool2d)


def test_batch_norm_arrives_in_short_trainings():
    with torch.device("meta"):
        body, _ = backbones.split("mobilenet_v3_small", N_CLASSES)
    norms = [module for module in body.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.1}


def test_every_backbone_has_official_weights_that_state_its_smallest_picture():
    for name in BACKBONES:
        assert backbones.imagenet_weights(name).url
        assert 1 <= backbones.smallest_picture(name) <= SIZE_PX
