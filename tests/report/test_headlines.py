"""The numbers at the top of the page, and their intervals."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from pokecam.report import headlines, trust


@pytest.fixture(scope="module")
def built(inputs):
    entries = headlines.build_headlines(inputs, trust.build_trust(inputs.judgement))
    return {headline.name: headline for headline in entries}


def test_predictions(built):
    assert built["Accuracy"].value == "87.5 %"
    assert built["Accuracy"].note == "7 of 8 test images; 95 % interval 52.9 % to 97.8 %"
    assert built["Among look-alikes"].value == "100.0 %"
    assert built["Among look-alikes"].note.startswith("4 of 4 test images of look-alike classes")
    # Hits 1, 2, 2, 2 of 2 images each; 1, 3, 2, 2 predictions.
    assert built["Macro F1"].value == f"{100 * (2 / 3 + 4 / 5 + 1 + 1) / 4:.1f} %"
    assert built["Log-loss"].value == f"{-(7 * np.log(0.85) + np.log(0.2)) / 8:.3g}"


def test_maps_and_images(built):
    """CAM is better than both baselines at pointing, and the areas of the parts name the decisive
    part as often; no method has a correlation of parts. Deletion, which is not recommended, does
    not count."""
    assert built["Maps"].value == "1 of 3"
    assert "CAM" in built["Maps"].note
    assert built["Images"].value == "16"
    assert built["Images"].note == (
        "4 for training, 4 for validation, 8 for testing; "
        "1 more could not be used, 2 are near-duplicates"
    )


def test_without_measures_there_is_no_headline_of_maps(inputs):
    empty = replace(trust.build_trust(inputs.judgement), rows=[], part_rows=[])
    names = [headline.name for headline in headlines.build_headlines(inputs, empty)]
    assert "Maps" not in names


def test_macro_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 5, (2, 40))
    classes = np.arange(6)  # the last class does not occur
    of_class, as_class = labels[:, None] == classes, predicted[:, None] == classes
    means = np.stack([of_class & as_class, of_class, as_class], axis=1).mean(axis=0)
    expected = f1_score(labels, predicted, average="macro", labels=classes[:-1], zero_division=0)
    assert headlines.macro_f1(means[None])[0] == pytest.approx(expected)
    assert headlines.macro_f1(means).shape == ()


def test_one_correct_image_of_each_class_gives_an_interval_without_width(inputs):
    """A class that a bootstrap sample leaves out does not count as misclassified."""
    predictions = inputs.predictions.iloc[[0, 2, 4, 6]].reset_index(drop=True)
    entries = headlines.build_headlines(
        replace(inputs, predictions=predictions), trust.build_trust(inputs.judgement)
    )
    f1 = next(headline for headline in entries if headline.name == "Macro F1")
    assert f1.value == "100.0 %"
    assert "100.0 % to 100.0 %" in f1.note


def test_without_tests_there_is_no_headline_of_maps(inputs):
    judged = trust.build_trust(inputs.judgement)
    untested = {
        name: [replace(row, is_tested=False) for row in getattr(judged, name)]
        for name in ("rows", "part_rows")
    }
    built = headlines.build_headlines(inputs, replace(judged, **untested))
    assert "Maps" not in [headline.name for headline in built]


def test_a_certain_mistake_does_not_make_the_loss_infinite(inputs):
    predictions = inputs.predictions.copy()
    predictions["p:Mr. Mime"] = 0.0
    entries = headlines.build_headlines(
        replace(inputs, predictions=predictions), trust.build_trust(inputs.judgement)
    )
    assert all("inf" not in headline.note for headline in entries)


def test_a_table_of_predictions_is_not_changed(inputs):
    before = inputs.predictions.copy()
    headlines.build_headlines(inputs, trust.build_trust(inputs.judgement))
    pd.testing.assert_frame_equal(inputs.predictions, before)
