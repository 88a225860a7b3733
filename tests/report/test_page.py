"""The content of the page, compared by hand with the run in conftest.py."""

from dataclasses import replace

import numpy as np
import pytest

from pokecam.cam.stored_maps import StoredMaps
from pokecam.report import page
from pokecam.report.slugs import slugs
from tests.report.conftest import CLASSES


@pytest.fixture(scope="module")
def built(inputs):
    return page.build_page(inputs)


def test_slugs_are_safe_and_no_two_alike():
    names = ["Mr. Mime", "mr-mime", "Nidoran♀", "Nidoran♂", "../..", "Évoli", "a-2", "a", "A", ""]
    expected = "mr-mime mr-mime-2 nidoran nidoran-2 class evoli a-2 a a-3 class-2"
    assert slugs(names) == expected.split()


def test_no_slug_is_a_name_that_windows_reserves():
    names = ["CON", "aux", "Nul", "COM1", "lpt9", "con", "console", "PRN.", "class-con"]
    result = slugs(names)
    assert result == [
        *("class-con", "class-aux", "class-nul", "class-com1", "class-lpt9", "class-con-2"),
        *("console", "class-prn", "class-con-3"),
    ]


def test_confusion_is_in_the_order_of_the_classes(built):
    expected = 2 * np.eye(4, dtype=int)
    expected[0] = [1, 1, 0, 0]
    assert built.confusion == expected.tolist()


def test_empty_maps_are_counted_in_every_method(built):
    assert (built.n_empty_maps, built.n_maps) == (2, 2 * 8 * len(CLASSES))


def test_one_map_for_all_classes_counts_as_that_of_each():
    maps = np.zeros((3, 1, 2, 2), dtype=np.float32)
    maps[0, 0, 0, 0] = 1
    per_class = np.ones((3, 5, 2, 2), dtype=np.float32)
    stored = [StoredMaps(maps), StoredMaps(per_class)]
    assert page.count_empty(stored, n_classes=5) == 2 * 5 + 3 * 5


def test_metrics_are_flat_short_and_rounded(inputs):
    metrics = page.metrics(inputs)
    assert metrics["accuracy"] == 0.875
    assert metrics["val_accuracy"] == 0.876543  # of the last epoch, six digits
    assert (metrics["n_train"], metrics["n_val"], metrics["n_test"]) == (4, 4, 8)
    assert (metrics["quarantined"], metrics["near_duplicates"]) == (1, 2)
    assert metrics.pop("weights") == "none"
    assert all(isinstance(value, int | float) for value in metrics.values())


def test_classes_with_few_images_are_named(built):
    learn, judge = built.small_classes
    assert "fewer than 8 training images" in learn
    assert "mr-mime (1)" in learn
    assert "mr-mime (2)" in judge


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("drawn", "from weights that were pretrained on drawings, fine"),
        ("imagenet", "from weights that were pretrained on ImageNet, fine"),
        ("none", "from random weights, fine"),
        ("mine.pth", "from mine.pth, fine"),
    ],
)
def test_the_summary_names_the_weights(inputs, weights, expected):
    assert expected in page.build_page(replace(inputs, weights=weights)).summary


def test_a_path_has_no_folders(built):
    assert built.parameters["source"] == "images"
    assert "(images)" in built.summary
    assert built.parameters["lookalikes"] == "Mr. Mime / mr-mime"
    assert built.parameters["epochs"] == "null"
