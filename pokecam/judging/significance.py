"""Confidence intervals over images, paired tests, and Holm's correction for many tests."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

RESAMPLES = 2000
AT_ONCE = 250  # resamples that are computed together; divides RESAMPLES
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate over images, with its confidence interval.

    Attributes:
        value: the estimate; NaN without an image.
        low: the lower end of the 95 % interval; NaN with fewer than two images.
        high: the upper end, likewise.
        n: the number of images.
    """

    value: float
    low: float
    high: float
    n: int


def interval(
    values: Floats, seed: int, statistic: Callable[[Floats], Floats] = lambda mean: mean
) -> Interval:
    """Compute a statistic over images, with its percentile bootstrap interval (Efron 1979).

    Args:
        values: (n, …), one entry for each image. Images that have a NaN are left out.
        seed: of the bootstrap.
        statistic: function of the mean of the values over images; by default the mean itself. It
            is called with R means (R, …), and returns (R,).
    """
    values = np.asarray(values, float)
    values = values[~np.isnan(values).any(axis=tuple(range(1, values.ndim)))]
    n = len(values)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    estimate = float(statistic(values.mean(axis=0, keepdims=True))[0])
    if n == 1:
        return Interval(estimate, np.nan, np.nan, 1)
    resampled = np.concatenate(
        [statistic(np.tensordot(counts / n, values, axes=1)) for counts in _resamples(n, seed)]
    )
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(estimate, float(low), float(high), n)


@lru_cache(maxsize=8)  # it takes longest, and is the same for all measures of as many images
def _resamples(n: int, seed: int) -> tuple[NDArray[np.uint16], ...]:
    """Return how often each of n images is in a resample: arrays (AT_ONCE, n) for `RESAMPLES`."""
    rng, shares = np.random.default_rng(seed), np.full(n, 1 / n)
    return tuple(
        rng.multinomial(n, shares, size=AT_ONCE).astype(np.uint16)
        for _ in range(RESAMPLES // AT_ONCE)
    )


def p_paired(differences: Floats) -> float:
    """Return the p-value of the two-sided signed-rank test of Wilcoxon 1945.

    It is the probability of differences at least as one-sided, if both signs are equally likely.
    Half of the zeros counts for each side.

    Args:
        differences: (n,). NaNs are left out.

    Returns:
        The p-value; 1 if all differences are zero or there are none.
    """
    differences = differences[~np.isnan(differences)]
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, zero_method="zsplit").pvalue)


def holm(p: Floats) -> Floats:
    """Correct p-values for the number of tests (Holm 1979).

    The k-th smallest of m p-values is multiplied by m − k + 1. No corrected value is below the one
    before it, and none is above 1.

    Args:
        p: (m,).

    Returns:
        (m,), each to be compared with 0.05.
    """
    order = np.argsort(p, kind="stable")
    multiplied = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(multiplied).clip(max=1)
    return corrected
