"""Scores of images and methods."""

import numpy as np
import torch

from pokecam.cam.stored_maps import StoredMaps
from pokecam.judging.measures import MEASURES
from pokecam.judging.scores import distinct, score
from tests.judging.halves import N, build_case, settings


def test_methods_with_the_same_heatmaps_are_found():
    a, b = np.random.default_rng(0).random((2, 3, 4, 4))
    heatmaps = np.stack([a, b, a + 1e-7, b, a / 2], axis=1)
    assert distinct(heatmaps) == ([0, 1, 4], [0, 1, 0, 1, 2])


def test_methods_with_the_same_heatmaps_have_the_same_scores(monkeypatch):
    values = build_case().maps["cam"].values
    case = build_case({"cam": StoredMaps(values), "grad_cam": StoredMaps(3 * values)})
    measured_once = score(case, settings(judge_measures=["faithfulness"]))
    monkeypatch.setattr("pokecam.judging.scores.SAME_MAP", -1.0)
    measured_twice = score(case, settings(judge_measures=["faithfulness"]))
    for name, numbers in measured_once.values.items():
        np.testing.assert_array_equal(numbers[:, 0], numbers[:, 1])
        np.testing.assert_allclose(numbers, measured_twice.values[name], atol=1e-6)


def test_a_map_of_the_object_is_better_than_a_map_of_the_other_half(scored):
    _, scores = scored
    for name, numbers in scores.values.items():
        has_value = ~np.isnan(numbers[:, 0])
        gain = MEASURES[name].better * (numbers[has_value, 0] - numbers[has_value, 1])
        # Without red this network predicts "left", and so that prediction never flips. Whether an
        # image is more probable after it is multiplied by a map says little for this network.
        assert name in ("flip", "increase", "constant") or (gain > 0).all(), name
        assert (gain >= 0).all(), name
        is_slow = MEASURES[name].group == "faithfulness"
        assert has_value.sum() == (4 if is_slow else N)


def test_pointing_and_energy_by_hand(scored):
    _, scores = scored
    assert scores.values["pointing"][:, :2].tolist() == [[1, 0]] * N
    assert (scores.values["energy"][:, 0] > 0.4).all()
    assert (scores.values["energy"][:, 1] == 0).all()


def test_the_seed_decides_and_the_state_of_torch_does_not():
    first = score(build_case(), settings())
    torch.rand(3)
    second = score(build_case(), settings())
    other = score(build_case(), settings(seed=2))
    for name, numbers in first.values.items():
        np.testing.assert_array_equal(numbers, second.values[name])
    assert not np.array_equal(first.values["road"], other.values["road"], equal_nan=True)


def test_without_ground_truth_localization_has_no_scores():
    scores = score(build_case(boxes=None), settings(judge_measures=["localization"]))
    for name, numbers in scores.values.items():
        assert name == "constant" or np.isnan(numbers).all()


def test_empty_maps_are_counted():
    values = build_case().maps["cam"].values.copy()
    values[1] = -1.0
    case = build_case({"cam": StoredMaps(values)})
    scores = score(case, settings(judge_measures=["localization"]))
    assert scores.values["constant"].tolist() == [[float(i == 1), 0, 0, 0] for i in range(N)]
    assert scores.values["pointing"][1, 0] == 0
    assert np.isnan(scores.values["energy"][1, 0])
