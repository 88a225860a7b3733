"""Imputation: removed pixels are filled in from their surroundings, so that no hole is visible."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NOISE = 0.01  # standard deviation of the noise, in units of the network input
COARSEST_PX = 16  # a grid with a smaller side has no coarser grid
# Largest side of a grid in px → number of steps on it. On large grids a step costs most, and the
# error that remains from the coarser grids varies over short distances, so few steps remove it.
STEPS = {64: 20, 128: 8}
STEPS_BEYOND = 1
OVERSHOOT = 1.8  # upper limit: the best value for many steps is too large for few steps


def impute(x: Tensor, removed: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Fill in removed pixels by noisy linear imputation.

    Every removed pixel becomes the weighted mean of its eight neighbours, plus noise,

        x_i = Σ_j w_j x_j / Σ_j w_j,  w = 1/6 across an edge, 1/12 across a corner

    Neighbours outside the image do not count. Rong et al. 2022, arXiv 2202.00449, §4.2.

    The paper solves this sparse system directly, which takes up to a second for an image of 224 px.
    Here it is solved from coarse to fine. Accelerated Jacobi steps (Golub and Varga 1961) on every
    grid begin with the solution on the grid of half the side. A cell of that grid has a value if
    any of its pixels has one. The result differs from the direct solution by about 0.05 of the
    standard deviation of the input on average.

    Args:
        x: (N, 3, S, S).
        removed: (N, S, S) bool.
        noise: what is added to removed pixels, a tensor that broadcasts to x, or a number.

    Returns:
        (N, 3, S, S). An image all of whose pixels are removed becomes 0 plus noise.
    """
    holes = removed[:, None].to(x.dtype)
    return _solve(x * (1 - holes), holes).add_(noise * holes)


def noise(like: Tensor, seed: int) -> Tensor:
    """Return the noise that `impute` adds to an image.

    Args:
        like: (3, S, S), the image, whose shape, type and device the noise has.
        seed: decides the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    return NOISE * torch.randn(like.shape, generator=generator).to(like)


# Masks are numbers that values are multiplied by, and means over neighbours are sums of slices. On
# a CPU, `torch.where` with one mask for all channels takes 15 times as long as the product, and
# pooling and interpolation take 5 to 10 times as long as the sums (torch 2.14).
def _solve(values: Tensor, holes: Tensor) -> Tensor:
    """Fill in values (N, C, h, w) where holes (N, 1, h, w) are 1; values must be 0 there."""
    h, w = values.shape[2:]
    has_value = 1 - holes
    if min(h, w) >= COARSEST_PX:
        count = _sum_cells(has_value)
        means = _sum_cells(values).div_(count.clamp(min=1))
        guess = _enlarge(_solve(means, (count == 0).to(values.dtype)), h, w)
    else:
        count = has_value.sum(dim=(2, 3), keepdim=True)
        guess = values.sum(dim=(2, 3), keepdim=True) / count.clamp(min=1)
    side = max(h, w)
    steps = next((n for largest, n in STEPS.items() if side <= largest), STEPS_BEYOND)
    # The best overshoot follows from the spectral radius of plain Jacobi steps on an empty square.
    overshoot = min(2 / (1 + math.sin(math.pi / side)), OVERSHOOT)
    ones = torch.ones(1, 1, h, w, dtype=values.dtype, device=values.device)
    factors = holes / _neighbour_sums(ones).clamp(min=1)  # a single pixel has no neighbour
    previous = current = torch.addcmul(values, guess, holes)
    for step in range(steps):
        following = torch.addcmul(values, _neighbour_sums(current), factors)
        if step:
            following = torch.lerp(previous, following, overshoot)
        previous, current = current, following
    return current


def _sum_cells(values: Tensor) -> Tensor:
    """Sum over cells of 2 × 2 pixels, (…, h, w) → (…, ⌈h / 2⌉, ⌈w / 2⌉)."""
    h, w = values.shape[-2:]
    if h % 2 or w % 2:
        values = F.pad(values, (0, w % 2, 0, h % 2))
    pairs = values[..., ::2, :] + values[..., 1::2, :]
    return pairs[..., ::2] + pairs[..., 1::2]


def _enlarge(values: Tensor, h: int, w: int) -> Tensor:
    """Interpolate the grid of half the side, (…, ⌈h / 2⌉, ⌈w / 2⌉) → (…, h, w).

    Interpolation is bilinear between the centres of cells: along each axis, a pixel is 3/4 of the
    nearest cell and 1/4 of the next one. At the border it is the nearest cell.
    """
    for dim in (-2, -1):
        length = values.shape[dim]
        nearest, next_ = 0.75 * values, 0.25 * values
        shape = list(values.shape)
        shape[dim] = 2 * length
        enlarged = values.new_empty(shape)
        # The first and the second pixel of every cell, as views, which are written without a copy.
        firsts, seconds = enlarged.unflatten(dim, (length, 2)).unbind(dim)
        inner = length - 1
        for pixels, start, border in ((firsts, 1, 0), (seconds, 0, inner)):
            torch.add(
                nearest.narrow(dim, start, inner),
                next_.narrow(dim, 1 - start, inner),
                out=pixels.narrow(dim, start, inner),
            )
            pixels.select(dim, border).copy_(values.select(dim, border))
        values = enlarged
    return values[..., :h, :w]


def _neighbour_sums(values: Tensor) -> Tensor:
    """Return 12 · Σ_j w_j x_j over the neighbours j of every pixel."""
    padded = F.pad(values, (1, 1, 1, 1))
    sides, middle = padded[..., :-2] + padded[..., 2:], padded[..., 1:-1]  # (…, h + 2, w)
    corners = sides[..., :-2, :] + sides[..., 2:, :]
    direct = (middle[..., :-2, :] + middle[..., 2:, :]).add_(sides[..., 1:-1, :])
    return corners.add_(direct, alpha=2)
