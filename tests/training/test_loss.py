"""The loss by hand, and compared with PyTorch's where all classes have the same weight."""

import math

import pytest
import torch
import torch.nn.functional as F

from pokecam.training.loss import weighted_cross_entropy


def test_the_loss_by_hand():
    """p = (1/2, 1/4, 1/4). With ε = 0.3 the targets are 0.8 for the label, 0.1 for the others."""
    logits = torch.tensor([[math.log(2), 0.0, 0.0]] * 2)
    weights = torch.tensor([1.0, 1.0, 10.0])
    log2 = math.log(2)
    first = 0.8 * log2 + 0.1 * 2 * log2 + 0.1 * 2 * log2
    second = 10 * (0.1 * log2 + 0.1 * 2 * log2 + 0.8 * 2 * log2)
    for reduction, divisor in (("sum", 1), ("mean", 11)):
        loss = weighted_cross_entropy(
            logits, torch.tensor([0, 2]), weights, label_smoothing=0.3, reduction=reduction
        )
        assert loss.item() == pytest.approx((first + second) / divisor)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("n", "n_classes"), [(16, 10), (360, 10), (7, 2), (15, 151)])
def test_equal_weights_give_the_bits_of_pytorch(reduction, n, n_classes):
    generator = torch.Generator().manual_seed(n)
    logits = torch.randn(n, n_classes, generator=generator, requires_grad=True)
    labels = torch.randint(n_classes, (n,), generator=generator)
    weights = torch.ones(n_classes)
    loss = weighted_cross_entropy(logits, labels, weights, label_smoothing=0.1, reduction=reduction)
    expected = F.cross_entropy(logits, labels, weights, reduction=reduction, label_smoothing=0.1)
    assert torch.equal(loss, expected)
    gradients = (torch.autograd.grad(value, logits)[0] for value in (loss, expected))
    assert torch.equal(*gradients)
