"""Confidence intervals, paired tests and their correction."""

import numpy as np
import pytest
from scipy import stats

from pokecam.judging.significance import holm, interval, p_paired


def test_an_interval_by_hand():
    """Half of the resamples of 0 and 1 are mixed, a quarter each is all 0 or all 1."""
    estimate = interval(np.array([0.0, 1.0]), seed=0)
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (0.5, 0.0, 1.0, 2)


def test_an_interval_as_scipy_gives_it():
    values = np.random.default_rng(1).gamma(2, size=80)
    estimate = interval(values, seed=0)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert estimate.value == values.mean()
    assert (estimate.low, estimate.high) == pytest.approx(tuple(expected), abs=0.02)


def test_images_without_a_value_are_left_out():
    values = np.array([1.0, np.nan, 3.0])
    assert interval(values, seed=0).n == 2
    assert interval(values, seed=0).value == 2
    single, empty = interval(values[:1], seed=0), interval(values[1:2], seed=0)
    assert (single.value, single.n) == (1, 1)
    assert np.isnan([single.low, single.high, empty.value, empty.low, empty.high]).all()
    assert empty.n == 0
    no_images = interval(np.empty((0, 3, 2)), seed=0, statistic=lambda means: means[:, 0, 0])
    assert no_images.n == 0


def test_a_statistic_of_whole_images():
    """Images are resampled, not the values that an image consists of."""
    values = np.repeat(np.array([[0.0], [1.0], [2.0]]), 5, axis=1)  # (3, 5)
    estimate = interval(values, seed=0, statistic=lambda means: means.max(axis=1))
    assert estimate.value == 1
    assert estimate.low == 0  # the first image three times: 1 of 27 resamples
    assert estimate.high == 2


def test_the_seed_decides():
    values = np.random.default_rng(1).normal(size=30)
    assert interval(values, seed=1) == interval(values, seed=1)
    assert interval(values, seed=1) != interval(values, seed=2)


def test_a_paired_test_by_hand():
    """Five differences of one sign: 2 of 2⁵ assignments of signs are as extreme."""
    assert p_paired(np.array([1.0, 2, 3, 4, 5])) == pytest.approx(2 / 32)
    assert p_paired(-np.array([1.0, 2, 3, 4, 5])) == pytest.approx(2 / 32)


def test_no_difference_is_no_evidence():
    assert p_paired(np.zeros(7)) == 1
    assert p_paired(np.array([])) == 1
    assert p_paired(np.array([np.nan, 0.0])) == 1


def test_differences_without_a_value_are_left_out():
    assert p_paired(np.array([1.0, np.nan, 2, 3, 4, 5])) == pytest.approx(2 / 32)


def test_holm_by_hand():
    """3 · 0.01; 2 · 0.03; the third, 0.04, rises to the second."""
    assert holm(np.array([0.04, 0.01, 0.03])).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []
