"""Rank correlation of maps. numpy and scipy only: what compares experiments runs no network."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.floating]


def rank_correlation(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Compute Spearman's rank correlation over the pixels of each pair of maps.

    Pixels of equal value share the mean of their ranks.

    Args:
        a: (…, h, w).
        b: (…, h, w).

    Returns:
        (…): 1 for the same order of pixels, −1 for the opposite order, NaN where either map is
        constant or contains NaN.
    """
    x, y = _centred_ranks(a), _centred_ranks(b)
    norms = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return np.divide((x * y).sum(axis=-1), norms, out=np.full_like(norms, np.nan), where=norms > 0)


def _centred_ranks(maps: Floats) -> NDArray[np.float64]:
    """Return the ranks of the pixels (…, h · w) minus their mean, which all maps share."""
    pixels = maps.reshape(*maps.shape[:-2], -1)
    return rankdata(pixels, axis=-1) - (pixels.shape[-1] + 1) / 2
