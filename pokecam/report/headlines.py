"""The numbers at the top of the page, with their intervals."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from pokecam.judging.significance import CONFIDENCE, interval
from pokecam.report.inputs import Inputs, label_probabilities
from pokecam.report.trust import Trust

Numbers = NDArray[np.float64]

SEED = 0  # of the bootstrap


@dataclass(frozen=True)
class Headline:
    """A number, as text, and a note on what it means and how certain it is."""

    name: str
    value: str
    note: str


def build_headlines(inputs: Inputs, trust: Trust) -> list[Headline]:
    """Return how good the predictions are, how good the maps are, and how many images there are.

    All intervals are 95 % intervals.
    """
    return [*_of_predictions(inputs), *_of_maps(trust), _of_images(inputs)]


def percent(share: float) -> str:
    """Return a share as text: 0.957 → "95.7 %"."""
    return f"{100 * share:.1f} %"


def macro_f1(means: Numbers) -> Numbers:
    """Return the mean over classes of F1, 2 · hits / (images + predictions).

    A class that a bootstrap sample has neither images nor predictions of has no F1, and does not
    count.

    Args:
        means: (..., 3, C). For each class the share of all images that are hits, that are images
            of the class, and that are predicted to be of the class.

    Returns:
        (...).
    """
    hits, images, predictions = np.moveaxis(means, -2, 0)
    occurs = images + predictions > 0
    f1 = np.divide(2 * hits, images + predictions, out=np.zeros_like(hits), where=occurs)
    return f1.sum(axis=-1) / occurs.sum(axis=-1)


def _of_predictions(inputs: Inputs) -> Iterator[Headline]:
    predictions, classes = inputs.predictions, inputs.packed.classes
    is_correct = (predictions["label"] == predictions["predicted"]).to_numpy()
    yield _share("Accuracy", is_correct, "test images")
    lookalikes = {name for group in inputs.lookalikes for name in group}
    is_lookalike = predictions["label"].isin(lookalikes)
    if is_lookalike.any():
        images = "test images of look-alike classes"
        yield _share("Among look-alikes", is_correct[is_lookalike], images)
    labels, predicted = (
        pd.Index(classes).get_indexer(predictions[name]) for name in ("label", "predicted")
    )
    indices = np.arange(len(classes))
    of_class, as_class = labels[:, None] == indices, predicted[:, None] == indices  # (N, C)
    counts = np.stack([of_class & as_class, of_class, as_class], axis=1)  # (N, 3, C)
    f1 = interval(counts.astype(float), SEED, macro_f1)
    ends = _interval_text(percent(f1.low), percent(f1.high))
    yield Headline("Macro F1", percent(f1.value), f"mean over the classes; {ends}")
    smallest = np.finfo(float).tiny
    loss = interval(-np.log(label_probabilities(predictions).clip(min=smallest)), SEED)
    guessing = f"guessing gives {math.log(len(classes)):.3g}"
    ends = _interval_text(f"{loss.low:.2g}", f"{loss.high:.2g}")
    value = inputs.metrics["log_loss"]  # the table of predictions has fewer digits
    yield Headline("Log-loss", f"{value:.3g}", f"0 is best, {guessing}; {ends}")
    ece = inputs.metrics["ece"]
    if ece is not None:
        note = "mean difference between the stated probability and the share of correct predictions"
        yield Headline("Calibration error", percent(ece), note)


def _share(name: str, is_correct: NDArray[np.bool_], images: str) -> Headline:
    """Return the share of correct predictions, with the interval of Wilson 1927.

    That interval stays within [0, 1], and has a width where the share is 0 or 1.
    """
    hits, n = int(is_correct.sum()), len(is_correct)
    low, high = stats.binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    ends = _interval_text(percent(low), percent(high))
    return Headline(name, percent(hits / n), f"{hits} of {n} {images}; {ends}")


def _interval_text(low: str, high: str) -> str:
    return f"95 % interval {low} to {high}"


def _of_maps(trust: Trust) -> Iterator[Headline]:
    """Yield how often the first method is significantly better than all baselines."""
    if trust.columns[0].is_baseline:
        return
    tested_rows = [row for row in trust.recommended_rows if row.is_tested]
    if not tested_rows:
        return
    n_better = sum(row.cells[0].is_better for row in tested_rows)
    note = (
        f"recommended measures in which {trust.columns[0].title} is significantly better than "
        "every baseline (p < 0.05, Holm)"
    )
    yield Headline("Maps", f"{n_better} of {len(tested_rows)}", note)


def _of_images(inputs: Inputs) -> Headline:
    sizes = inputs.subset_sizes
    note = (
        f"{sizes.get('train', 0)} for training, {sizes.get('val', 0)} for validation, "
        f"{sizes.get('test', 0)} for testing; {len(inputs.quarantine)} more could not be used, "
        f"{len(inputs.duplicates)} are near-duplicates"
    )
    return Headline("Images", str(sum(sizes.values())), note)
