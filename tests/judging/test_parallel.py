"""Many images at once, as on a GPU, have the results of image after image, as on a CPU.

There is no GPU here: the sizes of a GPU, and batches that do not end where an image ends, are set
on the CPU.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from pokecam.judging import faithfulness, parallel
from pokecam.judging.lookalikes import compare_lookalikes
from pokecam.judging.parallel import map_images
from pokecam.judging.scores import score
from pokecam.networks.classifier import prepare
from tests.judging.halves import build_case, settings


@pytest.fixture(params=[(3, 7), (64, 10_000)], ids=["small batches", "everything at once"])
def as_on_a_gpu(request, monkeypatch):
    n_images, n_changed = request.param
    monkeypatch.setattr(parallel, "images_at_once", lambda device: n_images)
    monkeypatch.setattr(faithfulness, "at_once", lambda device: n_changed)


def test_scores_are_those_of_image_after_image(scored, as_on_a_gpu):
    case, expected = scored
    actual = score(case, settings())
    assert actual.values.keys() == expected.values.keys()
    for name, numbers in actual.values.items():
        np.testing.assert_allclose(numbers, expected.values[name], atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(actual.hits, expected.hits)
    np.testing.assert_array_equal(actual.counts, expected.counts)


def test_look_alikes_are_those_of_image_after_image(monkeypatch):
    case = build_case(lookalikes=[[0, 1]])
    expected = compare_lookalikes(case, np.arange(4), seed=1)
    monkeypatch.setattr(parallel, "images_at_once", lambda device: 3)
    actual = compare_lookalikes(case, np.arange(4), seed=1)
    pd.testing.assert_frame_equal(actual, expected, atol=1e-4)


@pytest.mark.parametrize("n_images", [1, 3, 64])
def test_each_image_has_its_own_input_and_result_in_order(monkeypatch, n_images):
    case = build_case()
    monkeypatch.setattr(parallel, "images_at_once", lambda device: n_images)
    rows = case.rows[[2, 0, 0, 5, 1]]
    sizes = []

    def work(numbers, x):
        sizes.append(len(numbers))
        pixels = torch.from_numpy(case.packed.pixels[rows[numbers]])
        assert torch.equal(x, prepare(pixels))
        return [lambda number=number: int(number) for number in numbers]

    assert map_images(case, rows, work, "numbers") == [0, 1, 2, 3, 4]
    assert sum(sizes) == 5
    assert max(sizes) == min(n_images, 5)
    assert map_images(case, rows[:0], work, "numbers") == []


def test_an_error_in_the_rest_of_the_work_is_raised(monkeypatch):
    monkeypatch.setattr(parallel, "images_at_once", lambda device: 2)
    case = build_case()

    def fail():
        raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"):
        map_images(case, case.rows, lambda numbers, x: [fail for _ in numbers], "failures")


def test_what_memory_does_not_hold_runs_in_halves():
    sizes = []

    def network(x):
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA")
        return x.flatten(1).sum(1, keepdim=True)

    x = torch.arange(9 * 12.0).view(9, 3, 2, 2)
    assert torch.equal(faithfulness._run(network, x), x.flatten(1).sum(1, keepdim=True))
    assert sizes == [9, 5, 3, 2, 4, 2, 2]


def test_on_a_cpu_an_image_is_a_task_and_on_a_gpu_many_are():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert parallel.images_at_once(cpu) == 1 < parallel.images_at_once(cuda)
    assert faithfulness.at_once(cpu) == 16 < faithfulness.at_once(cuda)
