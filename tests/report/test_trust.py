"""The tables on whether maps can be trusted."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from pokecam.report import page, trust
from pokecam.report.write import render


@pytest.fixture(scope="module")
def built(inputs):
    return trust.build(inputs.judgement)


def test_every_measure_with_an_answer_is_a_column(built):
    assert [(c.title, c.more_is_better, c.n) for c in built.columns] == [
        ("Deletion", False, 8),
        ("Pointing game", True, 8),
        ("Part ranks", True, 8),
    ]


def test_rows_are_methods_and_then_baselines(built):
    assert [(row.title, row.is_baseline) for row in built.rows] == [
        ("CAM", False),
        ("Grad-CAM", False),
        ("Random", True),
        ("Centre", True),
    ]
    deletion, pointing, parts = built.rows[0].cells
    assert (deletion.value, deletion.interval) == ("0.10", "0.05 – 0.15")
    assert (parts.value, parts.interval, parts.beats) == ("", "", False)
    assert pointing.value == "0.90"


def test_only_what_is_certainly_better_than_every_baseline_is_marked(built):
    """Not where one of them may be as good, not where the difference is certain but against it."""
    marks = {row.title: [cell.beats for cell in row.cells] for row in built.rows}
    assert marks == {
        "CAM": [False, True, False],
        "Grad-CAM": [False, False, False],
        "Random": [False] * 3,
        "Centre": [False] * 3,
    }


def test_a_method_that_fresh_weights_do_not_change_is_named(built, inputs):
    assert built.blocks == ["head", "features.0"]
    assert [row.correlations for row in built.randomised] == [["0.60", "−0.12"], ["0.99", "0.97"]]
    assert built.unchanged == ["Grad-CAM"]
    html = render(page.build(inputs), {result.slug: _Sheet() for result in _classes(inputs)})
    told = re.search(r'class="warning">([^<]*)<', html)
    assert told
    assert told[1] == "Grad-CAM: not changed by fresh weights."


def test_headlines_are_those_of_the_first_method(inputs):
    assert trust.headlines(inputs.judgement) == {"map_deletion": 0.1, "map_pointing": 0.9}
    assert page.metrics(inputs)["map_pointing"] == 0.9


def test_a_judgement_without_answers_has_no_table(inputs):
    empty = pd.DataFrame()
    bare = replace(inputs.judgement, measures=empty, tests=empty, randomisation=None)
    built = trust.build(bare)
    assert (built.columns, built.randomised) == ([], [])
    assert trust.headlines(bare) == {}


class _Sheet:
    """A contact sheet without pictures."""

    placed = ()
    width = 1


def _classes(inputs):
    return page.build(inputs).classes
