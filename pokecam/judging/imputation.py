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

    those outside the image left out, plus `noise`. Rong et al. 2022, arXiv 2202.00449, §4.2.

    The paper solves this sparse system directly, which takes up to a second an image of 224 px.
    Here it is solved from coarse to fine: accelerated Jacobi steps (Golub and Varga 1961) on every
    grid begin with the solution of the grid of half the side, on which a cell counts as known if
    any of its pixels is. What remains differs from the direct solution by about
    0.05 of the input's standard deviation on average.

    x: (N, 3, S, S). removed: bool (N, S, S). noise: what to add to removed pixels, (N, 3, S, S).
    Returns (N, 3, S, S); an image without a single pixel left becomes 0 and noise.
    """
    unknown = removed[:, None].to(x.dtype)
    return _solve(x * (1 - unknown), unknown).add_(noise * unknown)


def noise(like: Tensor, seed: int) -> Tensor:
    """What `impute` adds to an image like (3, S, S), on its device, from the seed."""
    generator = torch.Generator().manual_seed(seed)
    return NOISE * torch.randn(like.shape, generator=generator).to(like)


# Masks are numbers and are multiplied by; whatever crosses rows or columns is a sum of slices. On a
# CPU `torch.where` with a mask for all channels takes 15 times as long as the product, and pooling
# and interpolation 5 to 10 times as long as the sums (torch 2.14).
def _solve(values: Tensor, unknown: Tensor) -> Tensor:
    """values (N, C, h, w), 0 where unknown (N, 1, h, w) is 1 → the same with the solution there."""
    h, w = values.shape[2:]
    known = 1 - unknown
    if min(h, w) >= COARSEST_PX:
        count = _halved(known)
        means = _halved(values).div_(count.clamp(min=1))
        guess = _doubled(_solve(means, (count == 0).to(values.dtype)), h, w)
    else:
        count = known.sum(dim=(2, 3), keepdim=True)
        guess = values.sum(dim=(2, 3), keepdim=True) / count.clamp(min=1)
    side = max(h, w)
    steps = next((n for largest, n in STEPS.items() if side <= largest), STEPS_BEYOND)
    # The spectral radius of plain steps on an empty square decides how much each overshoots.
    overshoot = min(2 / (1 + math.sin(math.pi / side)), OVERSHOOT)
    shares = unknown / _sums(torch.ones(1, 1, h, w, dtype=values.dtype, device=values.device))
    before = now = torch.addcmul(values, guess, unknown)
    for step in range(steps):
        after = torch.addcmul(values, _sums(now), shares)
        if step:
            after = torch.lerp(before, after, overshoot)
        before, now = now, after
    return now


def _halved(values: Tensor) -> Tensor:
    """Sums over squares of 2 × 2, (…, h, w) → (…, ⌈h / 2⌉, ⌈w / 2⌉)."""
    h, w = values.shape[-2:]
    if h % 2 or w % 2:
        values = F.pad(values, (0, w % 2, 0, h % 2))
    pairs = values[..., ::2, :] + values[..., 1::2, :]
    return pairs[..., ::2] + pairs[..., 1::2]


def _doubled(values: Tensor, h: int, w: int) -> Tensor:
    """The grid of half the side, (…, ⌈h / 2⌉, ⌈w / 2⌉), interpolated: (…, h, w). Bilinear between
    the middles of its cells: 3/4 of the nearest and 1/4 of the next, along each axis; at the border
    the nearest alone."""
    for dim in (-2, -1):
        length = values.shape[dim]
        nearest, next_ = 0.75 * values, 0.25 * values
        shape = list(values.shape)
        shape[dim] = 2 * length
        doubled = values.new_empty(shape)
        # What lies before the middle of a cell, and what behind: views, written without a copy.
        before, behind = doubled.unflatten(dim, (length, 2)).unbind(dim)
        inner = length - 1
        for side, own, border in ((before, 1, 0), (behind, 0, inner)):
            torch.add(
                nearest.narrow(dim, own, inner),
                next_.narrow(dim, 1 - own, inner),
                out=side.narrow(dim, own, inner),
            )
            side.select(dim, border).copy_(values.select(dim, border))
        values = doubled
    return values[..., :h, :w]


def _sums(values: Tensor) -> Tensor:
    """Σ_j w_j x_j over the neighbours of every pixel, in units of 1/12."""
    padded = F.pad(values, (1, 1, 1, 1))
    sides, middle = padded[..., :-2] + padded[..., 2:], padded[..., 1:-1]  # (…, h + 2, w)
    corners = sides[..., :-2, :] + sides[..., 2:, :]
    direct = (middle[..., :-2, :] + middle[..., 2:, :]).add_(sides[..., 1:-1, :])
    return corners.add_(direct, alpha=2)
