"""Faithfulness, on networks whose output can be worked out by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from torch import nn
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric

from pokecam.judging import faithfulness
from pokecam.judging.faithfulness import (
    area,
    blur,
    deletion_insertion,
    drop_and_increase,
    order,
    road,
)
from tests.support.given import FixedMaps

SIZE_PX = 8
OBJECT = np.zeros((SIZE_PX, SIZE_PX), bool)
OBJECT[:2] = True  # a quarter of the image, 16 pixels


def looks_at_object(x):
    """The probability of class 1 is the mean over the object, whose pixels are 1 in `image`."""
    mean = x[:, 0, torch.from_numpy(OBJECT)].mean(dim=1)
    return torch.stack([1 - mean, mean], dim=1)


def image(n=1):
    return torch.ones(n, 3, SIZE_PX, SIZE_PX)


TARGET = torch.ones(1, dtype=torch.long)
PERFECT = OBJECT.astype(np.float32)[None, None]
INVERTED = 1 - PERFECT
CONSTANT = np.zeros_like(PERFECT)


def test_order_by_hand():
    heatmap = np.array([[0.5, 1.0], [0.5, 0.0]], np.float32)
    assert order(heatmap).tolist() == [1, 0, 2, 3]
    assert order(np.zeros((3, 2, 2))).tolist() == [[0, 1, 2, 3]] * 3


@given(
    st.lists(
        st.floats(0, 1, width=32) | st.sampled_from([0.0, -0.0, 0.5, 1.0]), min_size=9, max_size=9
    )
)
def test_order_is_that_of_a_stable_sort(values):
    heatmap = np.array(values, np.float32).reshape(3, 3)
    assert order(heatmap).tolist() == np.argsort(-heatmap.ravel(), kind="stable").tolist()


@pytest.mark.parametrize(
    ("heatmaps", "expected"),
    [
        (PERFECT, [1, 0, 0, 0, 0]),  # the object is removed first
        (INVERTED, [1, 1, 1, 1, 0]),  # the object is removed last
        (CONSTANT, [1, 0, 0, 0, 0]),  # in reading order, and the object is at the top
    ],
)
def test_deletion_by_hand(heatmaps, expected):
    curves = deletion_insertion(looks_at_object, image(), TARGET, order(heatmaps), steps=4)
    assert curves.deletion[0, 0].tolist() == expected


def test_a_deletion_step_in_the_object_by_hand():
    curves = deletion_insertion(looks_at_object, image(), TARGET, order(PERFECT), steps=8)
    assert curves.deletion[0, 0].tolist() == [1, 0.5, 0, 0, 0, 0, 0, 0, 0]
    assert area(curves.deletion).item() == pytest.approx((1 / 2 + 0.5) / 8)


def test_insertion_by_hand():
    """Over a blurred image. The image is 1 on the object and 0 elsewhere, so that blurring reduces
    the probability."""
    x = image() * torch.from_numpy(OBJECT)
    dim = looks_at_object(blur(x))[0, 1].item()
    assert 0 < dim < 1
    for heatmaps, expected in ((PERFECT, [dim, 1, 1, 1, 1]), (INVERTED, [dim, dim, dim, dim, 1])):
        curves = deletion_insertion(looks_at_object, x, TARGET, order(heatmaps), steps=4)
        assert curves.insertion[0, 0].tolist() == pytest.approx(expected)


def test_insertion_over_another_image_by_hand():
    curves = deletion_insertion(
        looks_at_object, image(), TARGET, order(INVERTED), steps=4, start=torch.zeros_like
    )
    assert curves.insertion[0, 0].tolist() == [0, 0, 0, 0, 1]


def test_area_by_hand():
    assert area(np.array([1.0, 0.5, 0.0])) == pytest.approx(0.5)
    assert area(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])).tolist() == [0.75, 0.25]


def test_drop_and_increase_by_hand():
    heatmaps = np.concatenate([PERFECT, INVERTED, PERFECT / 2, CONSTANT], axis=1)
    drops, increases = drop_and_increase(looks_at_object, image(), TARGET, heatmaps)
    assert drops.tolist() == [[0, 1, 0.5, 1]]
    assert increases.tolist() == [[0, 0, 0, 0]]
    half = image() / 2  # multiplied by 2 the class is more probable
    drops, increases = drop_and_increase(looks_at_object, half, TARGET, 2 * PERFECT)
    assert (drops.item(), increases.item()) == (0, 1)


def test_road_by_hand():
    """The image is 1 on the object and 0 elsewhere. Filled in from its surroundings, the object
    becomes 0. Where it is among the least relevant pixels, it stays."""
    x = image() * torch.from_numpy(OBJECT)
    removal = road(looks_at_object, x, TARGET, order(PERFECT), seeds=[0], percentiles=(25, 75))
    assert removal.most[0, 0] == pytest.approx([0, 0], abs=0.02)  # noise of 0.01
    assert removal.least[0, 0] == pytest.approx([1, 1], abs=0.02)
    assert removal.flipped.tolist() == [[[True, True]]]
    assert removal.combined.item() == pytest.approx(0.5, abs=0.02)
    inverted = road(looks_at_object, x, TARGET, order(INVERTED), seeds=[0], percentiles=(25, 75))
    assert inverted.combined.item() == pytest.approx(-0.5, abs=0.02)
    assert not inverted.flipped.any()


def test_the_share_that_flips_by_hand():
    flipped = np.array([[False, True, True], [False, False, False], [True, False, True]])
    shares = faithfulness.flip_share(flipped, percentiles=(20, 40, 60))
    assert shares.tolist() == [0.4, 1.0, 0.2]


class Small(nn.Module):
    """A random network for comparisons."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
        )
        self.last = nn.Linear(128, 3)

    def forward(self, x):
        return 4 * self.last(self.layers(x))


@pytest.fixture(scope="module")
def small():
    return Small().eval()


def probabilities(model):
    @torch.inference_mode()
    def network(x):
        return model(x).softmax(dim=1)

    return network


def random_case(n=2, methods=3, size_px=32, seed=0):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(n, 3, size_px, size_px))).float()
    coarse = torch.from_numpy(rng.random((n, methods, 7, 7))).float()
    heatmaps = torch.nn.functional.interpolate(coarse, (size_px, size_px), mode="bilinear").numpy()
    return x, torch.tensor([2, 0, 1])[:n], heatmaps


def test_deletion_and_insertion_against_a_plain_loop(small):
    x, target, heatmaps = random_case()
    network, steps = probabilities(small), 5
    curves = deletion_insertion(network, x, target, order(heatmaps), steps)
    blurred = blur(x)
    for n in range(len(x)):
        for m in range(heatmaps.shape[1]):
            pixels = sorted(range(heatmaps[n, m].size), key=lambda i: -heatmaps[n, m].flat[i])
            for i in range(steps + 1):
                deleted, inserted = x[n].clone(), blurred[n].clone()
                for pixel in pixels[: len(pixels) * i // steps]:
                    position = slice(None), pixel // 32, pixel % 32
                    deleted[position], inserted[position] = 0, x[n][position]
                for changed, curve in (
                    (deleted, curves.deletion),
                    (inserted, curves.insertion),
                ):
                    expected = network(changed[None])[0, target[n]].item()
                    assert curve[n, m, i] == pytest.approx(expected, abs=1e-5)


def test_deletion_and_insertion_against_torchcam(small):
    """With the same number of steps and the same image to begin with."""
    x, target, heatmaps = random_case()
    ours = deletion_insertion(probabilities(small), x, target, order(heatmaps), steps=8)
    softmax = partial(torch.softmax, dim=-1)
    for m in range(heatmaps.shape[1]):
        for n in range(len(x)):
            extractor = FixedMaps(small, heatmaps[n : n + 1, m])
            deletion = DeletionInsertionMetric(extractor, softmax, steps=8)
            insertion = DeletionInsertionMetric(extractor, softmax, steps=8, baseline=blur)
            for metric in (deletion, insertion):
                metric.update(x[n : n + 1], [int(target[n])])
            expected = deletion.summary()["deletion_auc"], insertion.summary()["insertion_auc"]
            areas = (area(curves[n, m]) for curves in (ours.deletion, ours.insertion))
            assert tuple(areas) == pytest.approx(expected, abs=1e-6)


def test_drop_and_increase_against_torchcam(small):
    x, target, heatmaps = random_case(n=3)
    drops, increases = drop_and_increase(probabilities(small), x, target, heatmaps)
    for m in range(heatmaps.shape[1]):
        metric = ClassificationMetric(
            FixedMaps(small, heatmaps[:, m]), partial(torch.softmax, dim=-1)
        )
        metric.update(x, target.tolist())
        summary = metric.summary()
        assert drops[:, m].mean() == pytest.approx(summary["avg_drop"], abs=1e-5)
        assert increases[:, m].mean() == pytest.approx(summary["conf_increase"])


def test_the_blur_is_torchvisions():
    from torchvision.transforms.functional import gaussian_blur

    x = random_case()[0]
    ours, theirs = blur(x), gaussian_blur(x, [11, 11], [5.0, 5.0])
    inside = (..., slice(5, -5), slice(5, -5))  # torchvision mirrors the border
    torch.testing.assert_close(ours[inside], theirs[inside])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_road_against_pytorch_grad_cam(small):
    """Within 0.02 of a probability. Theirs solves for the removed pixels directly, has other noise,
    and takes a percentile of values where ours counts pixels."""
    x, target, heatmaps = random_case(size_px=64)
    percentiles = (20, 40, 60, 80)
    ours = road(
        probabilities(small), x, target, order(heatmaps), seeds=[0, 1], percentiles=percentiles
    ).combined  # (N, M)
    theirs = ROADCombined(percentiles=list(percentiles))
    targets = [ClassifierOutputSoftmaxTarget(int(c)) for c in target]
    for m in range(heatmaps.shape[1]):
        expected = theirs(x, heatmaps[:, m], targets, small)
        assert ours[:, m] == pytest.approx(np.array(expected), abs=0.02)


def test_images_and_methods_do_not_mix_and_inputs_are_not_changed(small, monkeypatch):
    x, target, heatmaps = random_case()
    before = x.clone(), heatmaps.copy()
    network = probabilities(small)

    def all_measures(x, target, heatmaps):
        curves = deletion_insertion(network, x, target, order(heatmaps), 4)
        drops, increases = drop_and_increase(network, x, target, heatmaps)
        removal = road(network, x, target, order(heatmaps), seeds=[0, 1], percentiles=(30, 60))
        return [curves.deletion, curves.insertion, drops, increases, removal.most, removal.least]

    together = all_measures(x, target, heatmaps)
    assert torch.equal(x, before[0])
    assert np.array_equal(heatmaps, before[1])
    monkeypatch.setattr(faithfulness, "CPU_AT_ONCE", 5)
    single = all_measures(x[:1], target[:1], heatmaps[:1, 1:2])
    for of_all, of_single in zip(together, single, strict=True):
        assert of_all[:1, 1:2] == pytest.approx(of_single, abs=1e-5)
