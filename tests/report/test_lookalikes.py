"""Predictions within groups of look-alikes, worked out by hand."""

import pandas as pd
import pytest

from pokecam.report import lookalikes

# Correctly classified: two Ants and a Bee. Misclassified: an Ant, a Bee and a Cat.
PREDICTIONS = pd.DataFrame(
    {
        "label": ["Ant", "Ant", "Ant", "Bee", "Bee", "Cat"],
        "predicted": ["Ant", "Ant", "Bee", "Bee", "Cat", "Ant"],
    }
)


def test_inside_groups_by_hand():
    table = lookalikes.inside_groups(PREDICTIONS, [["Ant", "Bee"], ["Bee", "Cat"]])
    assert table.group.tolist() == ["Ant / Bee", "Bee / Cat"]
    assert table.n.tolist() == [5, 3]
    assert table.accuracy.tolist() == pytest.approx([3 / 5, 1 / 3])
    # An Ant is misclassified as Bee; within Bee and Cat, a Bee is misclassified as Cat.
    assert table.confused_within.tolist() == [1, 1]


def test_an_image_counts_once_however_many_groups_its_class_is_in():
    groups = [["Ant", "Bee"], ["Ant", "Cat"]]
    assert lookalikes.accuracy(PREDICTIONS, groups[:1]) == pytest.approx(3 / 5)
    assert lookalikes.accuracy(PREDICTIONS, groups) == pytest.approx(3 / 6)


def test_without_lookalikes_there_is_no_figure_for_them():
    assert lookalikes.accuracy(PREDICTIONS, []) is None
    table = lookalikes.inside_groups(PREDICTIONS, [])
    assert list(table) == ["group", "n", "accuracy", "confused_within"]
    assert table.empty
