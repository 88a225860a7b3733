"""Filling removed pixels from their surroundings: a network sees neither them nor a hole."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NOISE = 0.01  # standard deviation of what is added, in units of the network's input
COARSEST_PX = 16  # a grid of a smaller side has no coarser one
# Steps on grids whose side is at most the key's, the smallest that fits. On large grids a step
# costs most, and what the coarser ones have left is short-waved: few steps take it away.
STEPS = {64: 20, 128: 8}
STEPS_BEYOND = 1
OVERSHOOT = 1.8  # at most: what is best for many steps is too much for few


def impute(x: Tensor, removed: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Noisy linear imputation: every removed pixel becomes the weighted mean of its neighbours,

        x_i = Σ_j w_j x_j / Σ_j w_j,  w = 1/6 beside and above, 1/12 across the corners,

    those outside the picture left out, plus `noise`. Rong et al. 2022, arXiv 2202.00449, §4.2.

    The paper solves this sparse system directly, which takes up to a second a picture of 224 px.
    Here it is solved from coarse to fine: accelerated Jacobi steps (Golub and Varga 1961) on every
    grid begin with the solution of the grid of half the side, on which a cell counts as known if
    any of its pixels is. What remains differs from the direct solution by about
    0.05 of the input's standard deviation on average.

    x: (N, 3, S, S). removed: bool (N, S, S). noise: what to add to removed pixels, (N, 3, S, S).
    Returns (N, 3, S, S); a picture without a single pixel left becomes 0 and noise.
    """
    hole = removed[:, None]
    filled = _solve(torch.where(hole, 0, x), ~hole)
    return torch.where(hole, filled + noise, x)


def noise(like: Tensor, seed: int) -> Tensor:
    """What `impute` adds to a picture like (3, S, S), on its device, from the seed."""
    generator = torch.Generator().manual_seed(seed)
    return NOISE * torch.randn(like.shape, generator=generator).to(like)


def _solve(values: Tensor, known: Tensor) -> Tensor:
    """values (N, C, h, w), 0 where not known (N, 1, h, w) bool → the same with the solution."""
    h, w = values.shape[2:]
    if min(h, w) >= COARSEST_PX:
        share = F.avg_pool2d(known.to(values.dtype), 2, ceil_mode=True)
        means = F.avg_pool2d(values, 2, ceil_mode=True) / share.clamp(min=0.25)
        guess = F.interpolate(_solve(means, share > 0), (h, w), mode="bilinear")
    else:
        n_known = known.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        guess = (values.sum(dim=(2, 3), keepdim=True) / n_known).expand_as(values)
    side = max(h, w)
    steps = next((n for largest, n in STEPS.items() if side <= largest), STEPS_BEYOND)
    # The spectral radius of plain steps on an empty square decides how much each overshoots.
    overshoot = min(2 / (1 + math.sin(math.pi / side)), OVERSHOOT)
    weight_sums = _sums(torch.ones(1, 1, h, w, dtype=values.dtype, device=values.device))
    before = now = torch.where(known, values, guess)
    for step in range(steps):
        after = _sums(now).div_(weight_sums)
        if step:
            after = torch.lerp(before, after, overshoot)
        before, now = now, torch.where(known, values, after)
    return now


def _sums(values: Tensor) -> Tensor:
    """Σ_j w_j x_j over the neighbours of every pixel, in units of 1/12."""
    padded = F.pad(values, (1, 1, 1, 1))
    sides, middle = padded[..., :-2] + padded[..., 2:], padded[..., 1:-1]  # (…, h + 2, w)
    corners = sides[..., :-2, :] + sides[..., 2:, :]
    direct = middle[..., :-2, :] + middle[..., 2:, :] + sides[..., 1:-1, :]
    return corners.add_(direct, alpha=2)
