"""BatchNorm folded into convolutions gives the same logits."""

import pytest
import torch
from torch import nn

from pokecam.cam.folding import fold_batchnorm
from pokecam.networks.classifier import build_classifier
from tests.support.networks import backbone_parameters, size_px


def with_statistics(backbone, head):
    """A network whose BatchNorms have something to fold."""
    torch.manual_seed(0)
    network = build_classifier(backbone, head, ["a", "b"], size_px(backbone))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    nn.init.normal_(network.last_layer.weight, std=0.1)
    return network


@pytest.mark.parametrize("backbone", backbone_parameters())
def test_logits_agree(backbone):
    network = with_statistics(backbone, "gap")
    modes = [module.training for module in network.modules()]
    x = torch.randn(2, 3, network.image_size, network.image_size)
    fast = fold_batchnorm(network)
    assert [module.training for module in network.modules()] == modes
    with torch.no_grad():
        expected, actual = network.eval()(x), fast.eval()(x)
    assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    "backbone",
    ["resnet18", "mobilenet_v3_small", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5"],
)
def test_no_batch_norm_is_left(backbone):
    modules = list(fold_batchnorm(with_statistics(backbone, "native")).modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)


def test_the_network_itself_is_not_changed():
    network = with_statistics("resnet18", "gap")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fold_batchnorm(network)
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
