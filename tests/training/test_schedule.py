"""Number of epochs, learning rate, size of the views, and class weights."""

import numpy as np
import pytest
import torch

from pokecam.networks import classifier
from pokecam.training import schedule
from tests.training.tiny import CLASSES


def test_class_weights_by_hand():
    # Proportional to 1/2, 1/3 and 1 for counts of 4, 9 and 0; a class without images counts as if
    # it had one. The factor is n / (2 + 3 + 1).
    weights = schedule.class_weights(np.repeat([0, 1], [4, 9]), 3)
    assert weights.tolist() == pytest.approx([13 / 12, 13 / 18, 13 / 6])


@pytest.mark.parametrize(("n_classes", "n_of_class"), [(2, 1), (10, 36), (7, 35), (151, 37)])
def test_classes_of_the_same_size_have_the_weight_1(n_classes, n_of_class):
    labels = np.repeat(np.arange(n_classes), n_of_class)
    assert schedule.class_weights(labels, n_classes).tolist() == [1] * n_classes


def test_the_mean_weight_of_an_image_is_1():
    labels = np.repeat(np.arange(3), [1, 36, 20])
    assert schedule.class_weights(labels, 3)[labels].mean() == pytest.approx(1)


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
