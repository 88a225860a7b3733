"""How sure figures over images are: intervals, paired tests, and what many tests cost."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

RESAMPLES = 2000
AT_ONCE = 250  # of them; divides RESAMPLES
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate, the ends of its 95 % interval, and the number of images behind it. Where
    there is no image all three are NaN; with one the ends are."""

    value: float
    low: float
    high: float
    n: int


def interval(
    values: Floats, seed: int, statistic: Callable[[Floats], Floats] = lambda mean: mean
) -> Interval:
    """A statistic of images, with its percentile bootstrap interval over them (Efron 1979).

    values: (n, …), one entry an image; images that have a NaN are left out.
    statistic: what is made of the mean of values over images: (R, …) → (R,), for R means at
        once; by default that mean itself.
    """
    values = np.asarray(values, float)
    known = values[~np.isnan(values).any(axis=tuple(range(1, values.ndim)))]
    n = len(known)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    estimate = float(statistic(known.mean(axis=0, keepdims=True))[0])
    if n == 1:
        return Interval(estimate, np.nan, np.nan, 1)
    drawn = np.concatenate(
        [statistic(np.tensordot(times / n, known, axes=1)) for times in _resamples(n, seed)]
    )
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(estimate, float(low), float(high), n)


@lru_cache(maxsize=8)  # all measures of as many images ask for the same, which takes longest
def _resamples(n: int, seed: int) -> tuple[NDArray[np.uint16], ...]:
    """How often each of n images is in a resampling: (AT_ONCE, n) each, `RESAMPLES` in all."""
    chance, shares = np.random.default_rng(seed), np.full(n, 1 / n)
    return tuple(
        chance.multinomial(n, shares, size=AT_ONCE).astype(np.uint16)
        for _ in range(RESAMPLES // AT_ONCE)
    )


def p_paired(differences: Floats) -> float:
    """How likely differences (n,) as one-sided as these, or more, are if either sign is as likely:
    the two-sided signed-rank test of Wilcoxon 1945, zeros counted half to each side.
    NaNs are left out; 1 where all differences are zero or there is none."""
    known = differences[~np.isnan(differences)]
    if not known.any():
        return 1.0
    return float(stats.wilcoxon(known, zero_method="zsplit").pvalue)


def holm(p: Floats) -> Floats:
    """p-values (m,) such that each may be held against 0.05 although there are m of them: the
    k-th smallest times m − k + 1, none below the one before, at most 1. Holm 1979."""
    order = np.argsort(p, kind="stable")
    stepped = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(stepped).clip(max=1)
    return adjusted
