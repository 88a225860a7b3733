"""A BatchNorm that only pretraining sees: folded away, the features are the same."""

import pytest
import torch
from torch import nn

from pokecam.commands.pretrain.batchnorm import (
    NormalisedConvolution,
    add_batchnorm,
    fold_batchnorm,
)
from pokecam.networks import backbones


def body_of(backbone: str) -> nn.Module:
    torch.manual_seed(0)
    return backbones.split(backbone, n_classes=2)[0]


@pytest.mark.parametrize("backbone", ["alexnet", "vgg11", "squeezenet1_1"])
def test_the_folded_network_is_the_plain_one_with_the_same_features(backbone):
    body = body_of(backbone)
    plain = {name: tensor.shape for name, tensor in body.state_dict().items()}
    add_batchnorm(body)
    x = torch.randn(8, 3, 64, 64)
    with torch.no_grad():
        for module in body.modules():
            if isinstance(module, nn.BatchNorm2d):  # as if it had been trained
                module.weight.uniform_(0.5, 2)
                module.bias.uniform_(-0.5, 0.5)
        for _ in range(5):
            body.train()(x)  # statistics that are not those of a new BatchNorm
        folded = fold_batchnorm(body)
        expected, features = body.eval()(x), folded(x)
        body_without = body_of(backbone)
        body_without.load_state_dict(folded.state_dict())
        loaded = body_without.eval()(x)
    assert {name: tensor.shape for name, tensor in folded.state_dict().items()} == plain
    assert expected.std() > 0.01
    assert (features - expected).abs().max() < 1e-4 * expected.abs().max()
    assert torch.equal(features, loaded)


def test_folding_leaves_the_trained_body_as_it_is():
    body = body_of("alexnet")
    add_batchnorm(body)
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    fold_batchnorm(body)
    assert body.training
    after = body.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    "backbone", ["resnet18", "mobilenet_v3_small", "vgg11_bn", "convnext_tiny"]
)
def test_networks_with_normalisation_stay_as_they_are(backbone):
    body = body_of(backbone)
    names = list(body.state_dict())
    add_batchnorm(body)
    assert not any(isinstance(module, NormalisedConvolution) for module in body.modules())
    assert list(body.state_dict()) == names
    assert list(fold_batchnorm(body).state_dict()) == names
