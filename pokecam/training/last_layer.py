"""Small convex fits on top of a network: its last layer, and how sure it is."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import LBFGS

LEAST_SPREAD = 0.2  # the least spread of an input to it that counts as such, of the mean spread
SCALES = (0.1, 10.0)  # of the logits, in `confidence_scale`
RIDGE = 0.05  # pull towards 0 on the weights of the last layer while it is fitted alone


def fit_linear(layer: nn.Linear, x: Tensor, labels: Tensor, loss: nn.Module) -> None:
    """Set `layer` to the logistic regression of labels (N,) on its inputs x (N, K).

    Minimises loss + RIDGE / 2 · ‖W‖² over standardised inputs, then folds the standardisation
    into the layer.
    """
    std, mean = torch.std_mean(x, dim=0, correction=0)
    # An input that hardly varies must not get the enormous weight that makes it count.
    std = std.clamp(min=LEAST_SPREAD * std.mean() + 1e-6)
    z = (x - mean) / std
    W = torch.zeros_like(layer.weight, requires_grad=True)
    b = torch.zeros_like(layer.bias, requires_grad=True)
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
    """What to multiply logits (N, C) by so that labels (N,) are most probable: 1 / temperature.

    Guo et al. 2017, arXiv 1706.04599, §4.2; with Platt's targets (1999), 1 / (N + 2) short of
    certainty for N images, so that labels without a single error do not ask for infinite logits.
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
