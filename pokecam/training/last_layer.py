"""Two small convex fits: the last layer of a network, and the temperature of its logits."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import LBFGS

LEAST_SPREAD = 0.2  # least standard deviation of an input, as a fraction of the mean over inputs
SCALES = (0.1, 10.0)  # limits of `confidence_scale`
RIDGE = 0.05  # factor of the quadratic penalty on the weights of the last layer


def fit_linear(
    layer: nn.Linear, x: Tensor, labels: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """Fit a linear layer by logistic regression, in place.

    It minimises loss + RIDGE / 2 · ‖W‖² over standardised inputs. The standardisation then becomes
    a part of weights and bias.

    Args:
        layer: K inputs, C outputs.
        x: (N, K), its inputs, on the device that computes. It may be another one than the layer's.
        labels: (N,) int, the class index of each, likewise.
        loss: (logits (N, C), labels) → mean loss.
    """
    std, mean = torch.std_mean(x, dim=0, correction=0)
    # Without a limit, an input that hardly varies could get an enormous weight.
    std = std.clamp(min=LEAST_SPREAD * std.mean() + 1e-6)
    z = (x - mean) / std
    W = torch.zeros(layer.weight.shape, device=x.device, requires_grad=True)
    b = torch.zeros(layer.bias.shape, device=x.device, requires_grad=True)
    optimiser = LBFGS([W, b], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        value = loss(F.linear(z, W, b), labels) + RIDGE / 2 * W.square().sum()
        value.backward()
        return value

    optimiser.step(objective)
    with torch.no_grad():
        layer.weight.copy_(W / std)
        layer.bias.copy_(b - (W / std) @ mean)


def confidence_scale(logits: Tensor, labels: Tensor) -> float:
    """Return the factor of the logits at which the labels are most probable: 1 / temperature.

    This is temperature scaling (Guo et al. 2017, arXiv 1706.04599, §4.2) with Platt's targets
    (1999): the labels are smoothed by 1 / (N + 2). Without that, logits without a single
    misclassified image would get an infinite factor.

    Args:
        logits: (N, C).
        labels: (N,) int, the class index of each image.

    Returns:
        The factor, within `SCALES`.
    """
    smoothing = 1 / (len(labels) + 2)
    log_scale = torch.zeros((), device=logits.device, requires_grad=True)
    optimiser = LBFGS([log_scale], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(log_scale.exp() * logits, labels, label_smoothing=smoothing)
        value.backward()
        return value

    optimiser.step(objective)
    return log_scale.detach().clamp(*(math.log(end) for end in SCALES)).exp().item()
