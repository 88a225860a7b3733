"""How well look-alikes are told apart, from the table of predictions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

Groups = Sequence[Sequence[str]]


def inside_groups(predictions: pd.DataFrame, groups: Groups) -> pd.DataFrame:
    """Evaluate the predictions within groups of look-alikes.

    Args:
        predictions: label, predicted, one row for each image.
        groups: of classes, by name.

    Returns:
        group, n, accuracy, confused_within, one row for each group: its names, the number of images
        of its classes, the accuracy on them, and how many of them are misclassified as another
        class of the group.
    """
    rows = []
    for group in groups:
        images = predictions[predictions["label"].isin(group)]
        is_wrong = images["predicted"] != images["label"]
        rows.append(
            {
                "group": " / ".join(group),
                "n": len(images),
                "accuracy": 1 - is_wrong.mean() if len(images) else np.nan,
                "confused_within": int((is_wrong & images["predicted"].isin(group)).sum()),
            }
        )
    return pd.DataFrame(rows, columns=["group", "n", "accuracy", "confused_within"])


def accuracy(predictions: pd.DataFrame, groups: Groups) -> float | None:
    """Return the accuracy on the classes that are in a group; None without images of them."""
    images = predictions[predictions["label"].isin({name for group in groups for name in group})]
    return float((images["predicted"] == images["label"]).mean()) if len(images) else None
