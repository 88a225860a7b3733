"""The numbers at the top of the page, and how sure they are."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from pokecam.report import headlines, trust


@pytest.fixture(scope="module")
def built(inputs):
    found = headlines.build_headlines(inputs, trust.build_trust(inputs.judgement))
    return {headline.name: headline for headline in found}


@pytest.mark.parametrize(
    ("right", "n", "expected"),
    [
        # Wilson 1927 as tabulated by Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (20, 20, (0.8389, 1.0)),
    ],
)
def test_wilson_interval(right, n, expected):
    assert headlines.wilson_interval(right, n) == pytest.approx(expected, abs=5e-5)


def test_predictions(built):
    assert built["Accuracy"].value == "87.5 %"
    assert built["Accuracy"].note == "7 of 8 test images; 95 % interval 52.9 % to 97.8 %"
    assert built["Among look-alikes"].value == "100.0 %"
    assert built["Among look-alikes"].note.startswith("4 of 4 test images of look-alike classes")
    # Hits 1, 2, 2, 2 of 2 each; 1, 3, 2, 2 said.
    assert built["Macro F1"].value == f"{100 * (2 / 3 + 4 / 5 + 1 + 1) / 4:.1f} %"
    assert built["Log-loss"].value == f"{-(7 * np.log(0.85) + np.log(0.2)) / 8:.3g}"


def test_maps_and_images(built):
    """CAM beats both baselines at pointing, not at deletion; ranks of parts nobody has."""
    assert built["Maps"].value == "1 of 3"
    assert "CAM" in built["Maps"].note
    assert built["Images"].value == "16"
    assert built["Images"].note == (
        "4 to train, 4 to validate, 8 to test; 1 more could not be used, 2 are near-duplicates"
    )


def test_where_nothing_was_measured_of_maps_nothing_is_said_of_them(inputs):
    none = replace(trust.build_trust(inputs.judgement), rows=[])
    names = [headline.name for headline in headlines.build_headlines(inputs, none)]
    assert "Maps" not in names


def test_macro_f1_is_that_of_scikit_learn():
    chance = np.random.default_rng(0)
    label, predicted = chance.integers(0, 5, (2, 40))
    names = np.arange(6)  # the last is never there
    of, said = label[:, None] == names, predicted[:, None] == names
    means = np.stack([of & said, of, said], axis=1).mean(axis=0)
    expected = f1_score(label, predicted, average="macro", labels=names[:-1], zero_division=0)
    assert headlines.macro_f1(means[None])[0] == pytest.approx(expected)
    assert headlines.macro_f1(means).shape == ()


def test_one_right_image_of_each_class_gives_no_interval_below_it(inputs):
    """A class that a resampling leaves out is not one that was missed."""
    said = inputs.predictions.iloc[[0, 2, 4, 6]].reset_index(drop=True)
    told = headlines.build_headlines(
        replace(inputs, predictions=said), trust.build_trust(inputs.judgement)
    )
    f1 = next(headline for headline in told if headline.name == "Macro F1")
    assert f1.value == "100.0 %"
    assert "100.0 % to 100.0 %" in f1.note


def test_where_nothing_could_be_compared_nothing_is_said_of_the_maps(inputs):
    judged = trust.build_trust(inputs.judgement)
    rows = [replace(row, compared=False) for row in judged.rows]
    names = [
        headline.name for headline in headlines.build_headlines(inputs, replace(judged, rows=rows))
    ]
    assert "Maps" not in names


def test_a_certain_mistake_does_not_make_the_loss_infinite(inputs):
    said = inputs.predictions.copy()
    said["p:Mr. Mime"] = 0.0
    told = headlines.build_headlines(
        replace(inputs, predictions=said), trust.build_trust(inputs.judgement)
    )
    assert all("inf" not in headline.note for headline in told)


def test_a_table_of_predictions_is_not_changed(inputs):
    before = inputs.predictions.copy()
    headlines.build_headlines(inputs, trust.build_trust(inputs.judgement))
    pd.testing.assert_frame_equal(inputs.predictions, before)
