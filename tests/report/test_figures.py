"""Figures: the same numbers give the same bytes, and names are only text."""

import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from pokecam.report import figures

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2],
        "train_loss": [1.0, 0.5],
        "val_loss": [1.1, 0.7],
        "train_accuracy": [0.5, 0.9],
        "val_accuracy": [0.6, 0.8],
    }
)


def draw_curves(path):
    figures.draw_curves(HISTORY, path)


def draw_confusion(path):
    figures.draw_confusion([[3, 0], [1, 2]], ["$\\frac{1}$", "<b>&"], path)


@pytest.mark.parametrize("draw", [draw_curves, draw_confusion])
def test_same_bytes_and_no_date(tmp_path, draw):
    draw(tmp_path / "a.svg")
    draw(tmp_path / "b.svg")
    first = (tmp_path / "a.svg").read_bytes()
    assert first == (tmp_path / "b.svg").read_bytes()
    assert b"dc:date" not in first
    assert ET.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"


def test_one_epoch_is_drawn_as_points(tmp_path):
    figures.draw_curves(HISTORY[1:], tmp_path / "one.svg")
    assert (tmp_path / "one.svg").stat().st_size > 1000


def test_many_classes_stay_a_small_file(tmp_path):
    n = 151
    counts = [[12 if i == j else 0 for j in range(n)] for i in range(n)]
    figures.draw_confusion(counts, [f"class {i}" for i in range(n)], tmp_path / "many.svg")
    assert (tmp_path / "many.svg").stat().st_size < 200_000


def test_recommended_measures_alone_are_drawn(tmp_path, inputs):
    figures.draw_measures(inputs.judgement, tmp_path / "measures.svg")
    drawn = (tmp_path / "measures.svg").read_text(encoding="utf-8")
    assert "Pointing game" in drawn
    assert "Deletion" not in drawn
    assert "Important parts" not in drawn  # no method has a figure
