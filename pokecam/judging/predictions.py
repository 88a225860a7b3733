"""How good predictions are, in numbers: pure functions of probabilities and true classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

CALIBRATION_BINS = 15

Groups = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Evaluation:
    """All that is known of one part's predictions; each table is what its function below gives."""

    predictions: pd.DataFrame
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    lookalikes: pd.DataFrame
    calibration: pd.DataFrame
    metrics: dict[str, float]


def evaluate(
    files: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    lookalikes: Groups,
) -> Evaluation:
    """Evaluate N images of C classes.

    files: N names.
    labels: (N,) int, the index of the true class.
    probabilities: (N, C) float, rows add up to 1. The class with the highest is the predicted one.
    classes: C names in the order of the indices.
    lookalikes: groups of classes that are easily confused.
    """
    predicted = probabilities.argmax(axis=1)
    calibration = calibrate(labels, probabilities)
    report = per_class(labels, predicted, classes)
    metrics = {
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": float(report.f1.mean()),
        "log_loss": float(log_loss(labels, probabilities, labels=range(len(classes)))),
        "ece": expected_calibration_error(calibration),
        "n_test": len(labels),
    }
    alike = np.isin(labels, _indices([name for group in lookalikes for name in group], classes))
    if alike.any():
        metrics["lookalike_accuracy"] = float((predicted == labels)[alike].mean())
    return Evaluation(
        predictions(files, labels, probabilities, classes),
        report,
        confusion(labels, predicted, classes),
        inside_groups(labels, predicted, classes, lookalikes),
        calibration,
        metrics,
    )


def predictions(
    files: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """One row an image: file, label, predicted, probability of the predicted class, and
    `p:<Class>` for every class."""
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
    """label, precision, recall, f1, support of every class. The precision of a class that is
    never predicted, and the recall of one without images, are 0."""
    columns = precision_recall_fscore_support(
        labels, predicted, labels=range(len(classes)), zero_division=0
    )
    names = ("precision", "recall", "f1", "support")
    return pd.DataFrame({"label": classes} | dict(zip(names, columns, strict=True)))


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """label, predicted, count: all C² pairs, in class order."""
    counts = confusion_matrix(labels, predicted, labels=range(len(classes)))
    pairs = pd.MultiIndex.from_product([classes, classes], names=["label", "predicted"])
    return pd.DataFrame({"count": counts.ravel()}, index=pairs).reset_index()


def inside_groups(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], groups: Groups
) -> pd.DataFrame:
    """One row per group of look-alikes: its names, n images of its classes, accuracy on them,
    and confused_within, how many of the errors name another class of the group."""
    rows = []
    for group in groups:
        members = _indices(group, classes)
        of_group = np.isin(labels, members)
        wrong = of_group & (predicted != labels)
        n = int(of_group.sum())
        rows.append(
            {
                "group": " / ".join(group),
                "n": n,
                "accuracy": 1 - wrong.sum() / n if n else np.nan,
                "confused_within": int((wrong & np.isin(predicted, members)).sum()),
            }
        )
    return pd.DataFrame(rows, columns=["group", "n", "accuracy", "confused_within"])


def calibrate(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS
) -> pd.DataFrame:
    """How often predictions of each confidence are right.

    Confidence is the highest probability. Equal-width bins (low, high] over 0 … 1; n images in
    each, their mean confidence, their accuracy (both NaN in an empty bin).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.searchsorted(edges[1:-1], confidence, side="left")
    table = pd.DataFrame({"bin": bin_of, "confidence": confidence, "accuracy": correct})
    grouped = table.groupby("bin")
    filled = grouped.mean().reindex(range(bins))
    n = grouped.size().reindex(range(bins), fill_value=0)
    ends = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n})
    return pd.concat([ends, filled], axis=1)


def expected_calibration_error(calibration: pd.DataFrame) -> float:
    """Σ n_b / N · |accuracy_b − confidence_b| over the bins b of `calibrate` (Guo et al. 2017,
    arXiv 1706.04599)."""
    gap = (calibration.accuracy - calibration.confidence).abs()
    return float((gap * calibration.n).sum() / calibration.n.sum())


def _indices(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    return [classes.index(name) for name in names]
