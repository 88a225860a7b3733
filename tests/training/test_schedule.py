"""Number of epochs, learning rate, size of the views, and class weights."""

import numpy as np
import pytest
import torch

from pokecam.networks import classifier
from pokecam.training import schedule
from tests.training.tiny import CLASSES


def test_class_weights_by_hand():
    weights = schedule.class_weights(np.array([0, 0, 0, 2]), 3)
    # n / (C · n_c) with counts 3, 0, 1. A class without images counts as if it had one.
    assert weights.tolist() == pytest.approx([4 / 9, 4 / 3, 4 / 3])
    assert schedule.class_weights(np.array([0, 1, 0, 1]), 2).tolist() == [1, 1]


def test_fewer_images_get_more_epochs_within_bounds():
    epochs = [schedule.n_epochs(n) for n in (1, 50, 360, 100_000)]
    fewest, most = schedule.EPOCHS
    assert epochs[0] == most
    assert epochs[-1] == fewest
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[2] * 360 == pytest.approx(schedule.IMAGES_SEEN, abs=180)


def test_the_rate_rises_and_falls():
    factor = schedule.rate_factor(100)
    rates = [factor(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[10 + 45] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert schedule.rate_factor(1)(0) == 1


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [("resnet18", 1), ("vgg11_bn", 1), ("vgg11", 0.1), ("convnext_tiny", 0.1)],
)
def test_networks_without_batchnorm_learn_slower(backbone, expected):
    with torch.device("meta"):
        model = classifier.build_classifier(backbone, "gap", CLASSES, 64)
    assert schedule.rate_multiplier(model) == expected


@pytest.mark.parametrize(
    ("backbone", "image_size", "expected"),
    [("resnet18", 224, 160), ("resnet18", 64, 32), ("resnet18", 30, 21), ("alexnet", 64, 63)],
)
def test_views_are_smaller_than_the_images_but_not_too_small(backbone, image_size, expected):
    with torch.device("meta"):
        model = classifier.build_classifier(backbone, "gap", CLASSES, image_size)
    assert schedule.view_size(model) == expected
