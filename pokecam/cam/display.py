"""From a raw map to what is shown and scored: ReLU, bilinear upsampling, division by the maximum.

numpy only, so that the report, which draws maps but runs no network, need not import torch.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def display(maps: Floats, size_px: int | tuple[int, int]) -> Floats:
    """Turn raw maps into maps in [0, 1] of the image's size.

    ReLU comes before upsampling (after it, negative neighbours would eat into the positive
    regions), upsampling is bilinear with `align_corners=False`, and the maximum becomes 1. A map
    that says nothing (`is_constant`) becomes zero.

    maps: (..., h, w), raw. size_px: of a square, or height and width. Returns float32
    (..., height, width).
    """
    maps = np.asarray(maps, dtype=np.float32)
    positive = np.maximum(maps, 0)
    positive[is_constant(maps)] = 0
    large = upsampled(positive, size_px)
    highest = large.max(axis=(-2, -1), keepdims=True)
    return np.divide(large, highest, out=np.zeros_like(large), where=highest > 0)


def upsampled(maps: Floats, size_px: int | tuple[int, int]) -> Floats:
    """Enlarge maps bilinearly, `align_corners=False`: (..., h, w) → (..., height, width)."""
    *_, h, w = maps.shape
    height, width = (size_px, size_px) if isinstance(size_px, int) else size_px
    large = _upsampling(h, height) @ maps @ _upsampling(w, width).T
    return np.asarray(large, dtype=np.float32)


def is_constant(maps: Floats) -> NDArray[np.bool_]:
    """Tell which maps point nowhere: after ReLU, all their pixels are equal.

    maps: (..., h, w), raw. Returns bool (...).
    """
    positive = np.maximum(maps, 0)
    return positive.max(axis=(-2, -1)) == positive.min(axis=(-2, -1))


def _upsampling(small: int, large: int) -> Floats:
    """The matrix (large, small) of linear interpolation with `align_corners=False`.

    Pixel i of the large row has its centre at (i + 1/2)·small/large − 1/2 of the small row and
    mixes its two neighbours there; beyond the outermost centres the border value goes on.
    """
    centre = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    below = np.floor(centre).astype(int)
    above = np.minimum(below + 1, small - 1)
    fraction = centre - below
    matrix = np.zeros((large, small))
    rows = np.arange(large)
    matrix[rows, below] += 1 - fraction
    matrix[rows, above] += fraction
    return matrix.astype(np.float32)
