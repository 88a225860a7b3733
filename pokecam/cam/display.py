"""From raw maps to heatmaps: ReLU, bilinear upsampling, division by the maximum.

This needs numpy only, so the report, which draws maps but runs no network, does not import torch.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def display(maps: Floats, size_px: int | tuple[int, int]) -> Floats:
    """Turn raw maps into heatmaps.

    ReLU comes first, because negative values would shrink the positive regions beside them in the
    upsampling. Upsampling is bilinear with `align_corners=False`. Then every map is divided by its
    maximum. An empty map (`is_constant`) becomes zero.

    Args:
        maps: (…, h, w), raw.
        size_px: the side of a square, or height and width.

    Returns:
        (…, height, width) float32 in [0, 1].
    """
    maps = np.asarray(maps, dtype=np.float32)
    positive = np.maximum(maps, 0)
    positive[is_constant(maps)] = 0
    large = upsample(positive, size_px)
    highest = large.max(axis=(-2, -1), keepdims=True)
    return np.divide(large, highest, out=np.zeros_like(large), where=highest > 0)


def display_difference(maps: Floats, other_maps: Floats, size_px: int) -> Floats:
    """Turn the raw maps of two classes into the evidence for the first against the other.

    It is the difference of the maps, upsampled as in `display` and divided by its largest
    magnitude.

    Args:
        maps: (…, h, w), raw, of one class.
        other_maps: (…, h, w), raw, of the class that it is compared with.
        size_px: the side of a square.

    Returns:
        (…, size_px, size_px) float32 in [−1, 1]. Positive values are evidence for the first class,
        negative ones for the other. Zero where the maps are equal.
    """
    large = upsample(np.asarray(maps, np.float32) - np.asarray(other_maps, np.float32), size_px)
    largest = np.abs(large).max(axis=(-2, -1), keepdims=True)
    return np.divide(large, largest, out=np.zeros_like(large), where=largest > 0)


def upsample(maps: Floats, size_px: int | tuple[int, int]) -> Floats:
    """Enlarge maps (…, h, w) → (…, height, width), bilinearly with `align_corners=False`."""
    *_, h, w = maps.shape
    height, width = (size_px, size_px) if isinstance(size_px, int) else size_px
    large = interpolation(h, height) @ maps @ interpolation(w, width).T
    return np.asarray(large, dtype=np.float32)


def is_constant(maps: Floats) -> NDArray[np.bool_]:
    """Find empty maps, whose pixels are all equal after ReLU.

    Args:
        maps: (…, h, w), raw.

    Returns:
        (…) bool.
    """
    positive = np.maximum(maps, 0)
    return positive.max(axis=(-2, -1)) == positive.min(axis=(-2, -1))


@lru_cache  # a network has few sizes
def interpolation(small: int, large: int) -> Floats:
    """Return the matrix (large, small) of linear interpolation with `align_corners=False`.

    The centre of pixel i of the large row lies at (i + 1/2) · small / large − 1/2 in the small row.
    The pixel mixes its two neighbours there. Beyond the outermost centres the border value is
    repeated.
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
