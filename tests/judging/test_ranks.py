"""Rank correlation of maps."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from pokecam.judging.ranks import rank_correlation


def test_rank_correlation_by_hand():
    a = np.array([[1.0, 2], [3, 4]])
    assert rank_correlation(a, a) == 1
    assert rank_correlation(a, np.exp(3 * a)) == 1  # the order alone counts
    assert rank_correlation(a, -a) == -1
    # Two neighbouring ranks swapped: 1 − 6 · (1 + 1) / (4 · 15).
    assert rank_correlation(a, np.array([[1.0, 2], [4, 3]])) == pytest.approx(0.8)
    # Ranks 1.5, 1.5, 3, 4: about their mean −1, −1, 1/2, 3/2; those of a −3/2, −1/2, 1/2, 3/2.
    tied = np.array([[0.0, 0], [1, 2]])
    assert rank_correlation(tied, a) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)


@pytest.mark.filterwarnings("error")
def test_constant_maps_have_no_rank_correlation():
    a = np.array([[1.0, 2], [3, 4]])
    constant = np.stack([np.zeros((2, 2)), np.full((2, 2), 0.1), np.full((2, 2), np.nan), a])
    for result in (rank_correlation(constant, a), rank_correlation(a, constant)):
        assert np.isnan(result).tolist() == [True, True, True, False]


def test_rank_correlation_equals_scipy():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 9, (2, 3, 5, 6)).astype(np.float32)  # many ties
    b = (a + rng.integers(0, 9, a.shape)).astype(np.float32)
    actual = rank_correlation(a, b)
    assert actual.dtype == np.float64
    for i in np.ndindex(2, 3):
        expected = spearmanr(a[i].ravel(), b[i].ravel()).statistic
        assert actual[i] == pytest.approx(expected, abs=1e-12)
