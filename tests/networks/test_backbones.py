"""The table of backbones, compared with torchvision."""

from contextlib import nullcontext

import pytest
import torch
import torchvision
from torch import nn

from pokecam.networks import backbones
from pokecam.networks.classifier import build_classifier
from pokecam.networks.families import BACKBONES
from tests.support.networks import CHOSEN, backbone_parameters, size_px

N_CLASSES = 3


@pytest.fixture(scope="module", params=backbone_parameters())
def network(request):
    """A backbone's name, the network of torchvision in evaluation mode, and two images."""
    torch.manual_seed(0)
    family = BACKBONES[request.param]
    original = torchvision.models.get_model(
        request.param, weights=None, num_classes=N_CLASSES, **family.options
    )
    # Vision transformers begin with zeros there.
    nn.init.normal_(original.get_submodule(family.last).weight)
    original = original.to(memory_format=torch.channels_last).eval()
    side = size_px(request.param)
    x = torch.randn(2, 3, side, side).to(memory_format=torch.channels_last)
    return request.param, original, x


def test_every_classifier_of_torchvision_is_in_the_table():
    models = torchvision.models
    assert sorted(BACKBONES) == models.list_models(module=models)
    assert set(CHOSEN) < set(BACKBONES)


@torch.no_grad()
def test_body_and_head_are_the_whole_network_bit_for_bit(network):
    name, original, x = network
    body, head = backbones.SPLITS[BACKBONES[name].split](original)
    assert torch.equal(head(body(x)), original(x))
    names = [*body.state_dict(), *head.state_dict()]
    assert sorted(names) == sorted(original.state_dict())


@torch.no_grad()
def test_the_head_does_not_change_the_activations(network):
    name, original, x = network
    body, head = backbones.SPLITS[BACKBONES[name].split](original)
    A = body(x)
    before = A.clone()
    logits = head(A)
    assert torch.equal(A, before)
    assert torch.equal(head(A), logits)


# The lowest value of the activation function that the body of a family ends in; it is 0 (ReLU) for
# the families without an entry. The bodies of `UNBOUNDED` end in a normalisation or a sum.
LOWEST = {"mobilenet_v3": -0.375, "efficientnet": -0.2785}
UNBOUNDED = ("convnext", "maxvit", "swin", "vit")


def test_activations_come_after_the_activation_function(network):
    """ReLU has no negative values, hard-swish none below -3/8, SiLU none below -0.2785."""
    name, original, x = network
    body, _ = backbones.SPLITS[BACKBONES[name].split](original)
    with torch.no_grad():
        A = backbones.grid(name, body(x))
    assert A.ndim == 4
    assert (A > 0).any()
    if not name.startswith(UNBOUNDED):
        assert A.min() >= next((low for key, low in LOWEST.items() if name.startswith(key)), 0)


@torch.no_grad()
def test_the_grid_of_a_transformer_is_where_its_patches_are():
    """A change in one patch of the image changes the token of this patch alone."""
    torch.manual_seed(0)
    body, _ = backbones.split("vit_b_32", N_CLASSES)
    body.encoder.layers = nn.Sequential()  # without blocks, a token depends on its patch alone
    x = torch.zeros(1, 3, 224, 224)
    x[..., 32:64, 96:128] = 1
    changed = backbones.grid("vit_b_32", body(x)) != backbones.grid(
        "vit_b_32", body(torch.zeros_like(x))
    )
    assert changed.any(dim=1)[0].nonzero().tolist() == [[1, 3]]


@torch.no_grad()
def test_a_pooled_transformer_is_the_whole_encoder_of_torchvision():
    torch.manual_seed(0)
    network = torchvision.models.vit_b_32(num_classes=N_CLASSES).eval()
    body = backbones.POOLED_BODIES["vit"](network)
    x = torch.randn(1, 3, 224, 224)
    tokens = torch.cat([network.class_token, network._process_input(x)], dim=1)
    assert torch.equal(body(x), network.encoder(tokens))


def test_the_last_layer_has_one_output_per_class(network):
    name, original, _ = network
    last = original.get_submodule(BACKBONES[name].last)
    assert isinstance(last, nn.Linear | nn.Conv2d)
    assert len(last.weight) == N_CLASSES
    assert last.bias is None or len(last.bias) == N_CLASSES


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_the_last_max_pooling_belongs_to_the_head(name):
    with torch.device("meta"):
        body, head = backbones.split(name, N_CLASSES)
    assert isinstance(list(body.modules())[-1], nn.ReLU)
    assert isinstance(head.maxpool, nn.MaxPool2d)


def test_running_statistics_converge_in_short_trainings():
    with torch.device("meta"):
        body, _ = backbones.split("mobilenet_v3_small", N_CLASSES)
    norms = [module for module in body.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.1}


def test_every_backbone_has_official_weights_that_state_its_smallest_image():
    for name in BACKBONES:
        assert backbones.imagenet_weights(name).url
        assert 1 <= backbones.smallest_image_px(name) <= 256


@pytest.mark.parametrize("name", backbone_parameters())
def test_the_table_says_which_native_heads_plain_cam_can_use(name):
    with nullcontext() if BACKBONES[name].computes_when_built else torch.device("meta"):
        classifier = build_classifier(name, "native", ["a", "b"], size_px(name))
    assert (classifier.linear is not None) == BACKBONES[name].linear_head


def test_every_name_in_the_table_of_splits_is_used():
    assert {family.split for family in BACKBONES.values()} == set(backbones.SPLITS)
    bodies = {family.pooled_body for family in BACKBONES.values()} - {None}
    assert bodies == set(backbones.POOLED_BODIES)
