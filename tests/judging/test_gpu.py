"""Judging on a GPU. Without one, on tensors without values."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from pokecam.judging import parallel
from pokecam.judging.background import classify_conditions
from pokecam.judging.lookalikes import compare_lookalikes
from pokecam.judging.sanity import compare_randomised
from pokecam.judging.scores import score
from tests.judging.halves import N, build_case, settings
from tests.support.fake_gpu import GPU, fake_gpu, in_this_thread, needs_gpu, on_gpu


def compare_pairs(case):
    return compare_lookalikes(case, np.arange(4), seed=1)


def change_background(case):
    return classify_conditions(case, seed=1)


@pytest.mark.parametrize("judge", [compare_pairs, change_background])
def test_comparisons_run_on_the_gpu(judge, monkeypatch):
    monkeypatch.setattr(parallel, "thread_pool", in_this_thread)
    with fake_gpu() as waits:
        case = on_gpu(lambda: build_case(lookalikes=[[0, 1]]))
        assert case.device == GPU
        assert len(judge(case))
    assert waits.reads == 0


def test_scores_are_measured_on_the_gpu(monkeypatch):
    monkeypatch.setattr(parallel, "thread_pool", in_this_thread)
    with fake_gpu() as waits, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all probabilities are zero
        case = on_gpu(build_case)
        scores = score(case, settings(judge_images=N))
    assert scores.values["deletion"].shape == (N, len(case.methods))
    assert waits.reads == 0
    # 15 images a curve, 18 for ROAD, one for drop: for each of five maps of each image they are
    # results of three sizes, all of which are copied together.
    assert len([device for device, _ in waits.copies if device == "cpu"]) < 20


@needs_gpu
def test_scores_are_those_of_the_cpu():
    expected, actual = (
        score(on(device, build_case()), settings(judge_images=N)) for device in ("cpu", "cuda")
    )
    for name, numbers in actual.values.items():
        np.testing.assert_allclose(numbers, expected.values[name], atol=1e-3, err_msg=name)


@needs_gpu
@pytest.mark.parametrize("judge", [compare_pairs, change_background])
def test_comparisons_are_those_of_the_cpu(judge):
    expected, actual = (
        judge(on(device, build_case(lookalikes=[[0, 1]]))) for device in ("cpu", "cuda")
    )
    pd.testing.assert_frame_equal(actual, expected, atol=1e-3)


@needs_gpu
def test_random_weights_are_those_of_the_cpu():
    tables = [
        compare_randomised(on(device, build_case()), np.arange(4), seed=1)
        for device in ("cpu", "cuda")
    ]
    pd.testing.assert_frame_equal(tables[1], tables[0], atol=1e-3)


def on(device, case):
    case.classifier.to(torch.device(device))
    return case
