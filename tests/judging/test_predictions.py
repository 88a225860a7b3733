"""Measures of predictions against numbers worked out by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from pokecam.judging import predictions

CLASSES = ["Ant", "Bee", "Cat"]
# Six images. Correctly classified: two Ants and a Bee. Misclassified: an Ant, a Bee and a Cat.
LABELS = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.3, 0.5, 0.2],
        [0.2, 0.7, 0.1],
        [0.1, 0.4, 0.5],
        [0.5, 0.3, 0.2],
    ]
)
PREDICTED = PROBABILITIES.argmax(axis=1)  # 0 0 1 1 2 0
FILES = [f"image{i}.png" for i in range(6)]


@pytest.fixture
def result():
    return predictions.evaluate(FILES, LABELS, PROBABILITIES, CLASSES)


def test_metrics_by_hand(result):
    metrics = result.metrics
    assert metrics["accuracy"] == pytest.approx(3 / 6)
    # F1: Ant 2·2/(3+3), Bee 2·1/(2+2), Cat 0
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    true_class = [0.8, 0.6, 0.3, 0.7, 0.4, 0.2]
    assert metrics["log_loss"] == pytest.approx(-sum(map(math.log, true_class)) / 6)
    assert metrics["n_test"] == 6


def test_per_class_by_hand(result):
    table = result.per_class.set_index("label")
    assert table.loc["Ant"].tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 3])
    assert table.loc["Bee"].tolist() == pytest.approx([1 / 2, 1 / 2, 1 / 2, 2])
    assert table.loc["Cat"].tolist() == pytest.approx([0, 0, 0, 1])


def test_a_class_that_is_never_predicted_counts_zero_without_a_warning(recwarn):
    table = predictions.per_class(np.array([0, 1]), np.array([0, 0]), CLASSES)
    assert table.precision.tolist() == [0.5, 0, 0]
    assert table.recall.tolist() == [1, 0, 0]
    assert not recwarn.list


def test_confusion_lists_every_pair_in_class_order(result):
    table = result.confusion
    pairs = list(zip(table.label, table.predicted, strict=True))
    assert pairs == [(a, b) for a in CLASSES for b in CLASSES]
    assert table["count"].tolist() == [2, 1, 0, 0, 1, 1, 1, 0, 0]


def test_calibration_by_hand():
    """Two bins: (0, 0.5] has confidences 0.5 0.5 0.5, none correct; (0.5, 1] has 0.8 0.6 0.7."""
    table = predictions.calibrate(LABELS, PROBABILITIES, bins=2)
    assert table.low.tolist() == [0, 0.5]
    assert table.high.tolist() == [0.5, 1]
    assert table.n.tolist() == [3, 3]
    assert table.confidence.tolist() == pytest.approx([0.5, 0.7])
    assert table.accuracy.tolist() == [0, 1]
    error = predictions.expected_calibration_error(table)
    assert error == pytest.approx(3 / 6 * 0.5 + 3 / 6 * 0.3)


def test_an_empty_bin_adds_nothing_to_the_calibration_error():
    labels, probabilities = np.array([0, 0]), np.array([[1.0, 0.0], [0.9, 0.1]])
    table = predictions.calibrate(labels, probabilities)
    assert table.n.tolist() == [0] * 13 + [1, 1]
    assert table.accuracy.isna().tolist() == [True] * 13 + [False, False]
    assert predictions.expected_calibration_error(table) == pytest.approx(0.05)


def test_perfect_and_confident_predictions_have_no_error():
    labels = np.array([0, 1, 2])
    metrics = predictions.evaluate("abc", labels, np.eye(3), CLASSES).metrics
    assert metrics["accuracy"] == metrics["macro_f1"] == 1
    assert metrics["ece"] == 0
    assert metrics["log_loss"] == pytest.approx(0, abs=1e-12)


def test_predictions_keep_the_order_and_name_every_class(result):
    table = result.predictions
    assert table.file.tolist() == FILES
    assert table.label.tolist() == ["Ant"] * 3 + ["Bee"] * 2 + ["Cat"]
    assert table.predicted.tolist() == ["Ant", "Ant", "Bee", "Bee", "Cat", "Ant"]
    assert table.probability.tolist() == [0.8, 0.6, 0.5, 0.7, 0.5, 0.5]
    assert table[[f"p:{name}" for name in CLASSES]].to_numpy() == pytest.approx(PROBABILITIES)


@pytest.mark.parametrize("seed", range(20))
def test_everything_equals_scikit_learn(seed):
    """Classes without images, classes that are never predicted, and probabilities of 0 and 1."""
    rng = np.random.default_rng(seed)
    n, C = rng.integers(1, 40), rng.integers(2, 7)
    classes, labels = [f"class {c}" for c in range(C)], rng.integers(C, size=n)
    probabilities = rng.dirichlet(np.full(C, 0.2), size=n).astype([np.float32, float][seed % 2])
    probabilities[0] = np.eye(C)[rng.integers(C)]
    predicted = probabilities.argmax(axis=1)
    result = predictions.evaluate([str(i) for i in range(n)], labels, probabilities, classes)
    columns = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(C), zero_division=0
    )
    actual = result.per_class.drop(columns="label").to_numpy()
    np.testing.assert_allclose(actual, np.transpose(columns), rtol=1e-12)
    matrix = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(C))
    np.testing.assert_array_equal(result.confusion["count"], matrix.ravel())
    expected = sklearn_metrics.log_loss(labels, probabilities, labels=range(C))
    assert result.metrics["log_loss"] == pytest.approx(expected, rel=1e-5)
