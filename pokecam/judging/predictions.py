"""Measures of predictions: pure functions of probabilities and labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of N predictions.

    Attributes:
        predictions: as `predictions` gives it.
        per_class: as `per_class` gives it.
        confusion: as `confusion` gives it.
        calibration: as `calibrate` gives it.
        metrics: accuracy, macro_f1, log_loss, ece (expected calibration error), n_test.
    """

    predictions: pd.DataFrame
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    calibration: pd.DataFrame
    metrics: dict[str, float]


def evaluate(
    files: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> Evaluation:
    """Evaluate N images of C classes.

    Args:
        files: N names.
        labels: (N,) int, class indices.
        probabilities: (N, C); each row sums to 1. The most probable class is predicted.
        classes: C names in the order of the indices.
    """
    predicted = probabilities.argmax(axis=1)
    p_of_label = probabilities[np.arange(len(labels)), labels]
    calibration = calibrate(labels, probabilities)
    report = per_class(labels, predicted, classes)
    metrics = {
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": float(report.f1.mean()),
        # A probability of 0 counts as the smallest step from 1, so that the mean stays finite.
        "log_loss": float(0 - np.log(p_of_label.clip(np.finfo(p_of_label.dtype).eps)).mean()),
        "ece": expected_calibration_error(calibration),
        "n_test": len(labels),
    }
    return Evaluation(
        predictions(files, labels, probabilities, classes),
        report,
        confusion(labels, predicted, classes),
        calibration,
        metrics,
    )


def predictions(
    files: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Tabulate the predictions.

    Returns:
        file, label, predicted, probability (of the predicted class), and `p:<Class>` for every
        class, one row for each image.
    """
    names = np.asarray(classes, dtype=object)
    table = pd.DataFrame(
        {
            "file": files,
            "label": names[labels],
            "predicted": names[probabilities.argmax(axis=1)],
            "probability": probabilities.max(axis=1),
        }
    )
    by_class = pd.DataFrame(probabilities, columns=[f"p:{name}" for name in classes])
    return pd.concat([table, by_class], axis=1)


def per_class(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Compute precision, recall and F1 of every class.

    Returns:
        label, precision, recall, f1, support, one row for each class. The precision of a class
        that is never predicted is 0, and so is the recall of a class without images.
    """
    counts = _counts(labels, predicted, len(classes))
    n_correct, n_predicted, support = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    return pd.DataFrame(
        {
            "label": classes,
            "precision": n_correct / n_predicted.clip(1),  # 0 / 1 without a prediction
            "recall": n_correct / support.clip(1),
            "f1": 2 * n_correct / (n_predicted + support).clip(1),  # the harmonic mean of the two
            "support": support,
        }
    )


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Count the images of each label and predicted class.

    Returns:
        label, predicted, count, one row for each of the C² pairs, in the order of the classes.
    """
    counts = _counts(labels, predicted, len(classes))
    pairs = pd.MultiIndex.from_product([classes, classes], names=["label", "predicted"])
    return pd.DataFrame({"count": counts.ravel()}, index=pairs).reset_index()


def _counts(labels: np.ndarray, predicted: np.ndarray, C: int) -> np.ndarray:
    """Return the confusion matrix (C, C): labels, predicted classes."""
    return np.bincount(labels * C + predicted, minlength=C * C).reshape(C, C)


def calibrate(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS
) -> pd.DataFrame:
    """Compute how often predictions of each confidence are correct.

    Confidence is the highest probability of an image.

    Args:
        labels: (N,) int, class indices.
        probabilities: (N, C).
        bins: the number of bins (low, high] of equal width over 0 … 1.

    Returns:
        low, high, n, confidence, accuracy, one row for each bin: its ends, its number of images,
        their mean confidence, and their accuracy. The last two are NaN in an empty bin.
    """
    confidence = probabilities.max(axis=1)
    is_correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    bin_indices = np.searchsorted(edges[1:-1], confidence, side="left")
    table = pd.DataFrame({"bin": bin_indices, "confidence": confidence, "accuracy": is_correct})
    grouped = table.groupby("bin")
    means = grouped.mean().reindex(range(bins))
    n = grouped.size().reindex(range(bins), fill_value=0)
    ends = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n})
    return pd.concat([ends, means], axis=1)


def expected_calibration_error(calibration: pd.DataFrame) -> float:
    """Compute Σ_b n_b / N · |accuracy_b − confidence_b| over the bins b of `calibrate`.

    Guo et al. 2017, arXiv 1706.04599.
    """
    gap = (calibration.accuracy - calibration.confidence).abs()
    return float((gap * calibration.n).sum() / calibration.n.sum())
