"""The numbers at the top of the page, with their intervals."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pokecam.judging.significance import interval
from pokecam.report.inputs import Inputs, own_probabilities
from pokecam.report.trust import Trust

Numbers = NDArray[np.float64]

SEED = 0  # of the resampling


@dataclass(frozen=True)
class Headline:
    """One number, as text, and in a few words what it means and how sure it is."""

    name: str
    value: str
    note: str


def build_headlines(inputs: Inputs, trust: Trust) -> list[Headline]:
    """How good the predictions are, whether the maps can be trusted, and what became of the
    images. Intervals are of 95 %."""
    return [*_predictions(inputs), *_maps(trust), _images(inputs)]


def percent(share: float) -> str:
    """A share as text: 0.957 → "95.7 %"."""
    return f"{100 * share:.1f} %"


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share of `right` among `n` (Wilson 1927): never outside [0, 1], and
    sensible at shares of 0 and 1, where the usual interval has no width."""
    z = 1.959964
    share, spread = right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def macro_f1(means: Numbers) -> Numbers:
    """Mean of F1, 2 · hits / (images + predictions), over the classes that have either: of a
    class that a resampling has left out nothing is known.

    means: (..., 3, C), shares of all images: hits, images, predictions of each class.
    """
    hits, images, said = np.moveaxis(means, -2, 0)
    there = images + said > 0
    f1 = np.divide(2 * hits, images + said, out=np.zeros_like(hits), where=there)
    return f1.sum(axis=-1) / there.sum(axis=-1)


def _predictions(inputs: Inputs) -> Iterator[Headline]:
    said, classes = inputs.predictions, inputs.packed.classes
    right = (said["label"] == said["predicted"]).to_numpy()
    yield _share("Accuracy", right, "test images")
    alike = said["label"].isin([name for group in inputs.packed.lookalikes for name in group])
    if alike.any():
        yield _share("Among look-alikes", right[alike], "test images of look-alike classes")
    label, predicted = (
        pd.Index(classes).get_indexer(said[name]) for name in ("label", "predicted")
    )
    names = np.arange(len(classes))
    of, taken = label[:, None] == names, predicted[:, None] == names  # (N, C)
    counted = np.stack([of & taken, of, taken], axis=1).astype(float)  # (N, 3, C)
    f1 = interval(counted, SEED, macro_f1)
    ends = _between(percent(f1.low), percent(f1.high))
    yield Headline("Macro F1", percent(f1.value), f"mean over the classes; {ends}")
    loss = interval(-np.log(own_probabilities(said).clip(min=np.finfo(float).tiny)), SEED)
    guessing = f"guessing gives {math.log(len(classes)):.3g}"
    ends = _between(f"{loss.low:.2g}", f"{loss.high:.2g}")
    value = inputs.metrics["log_loss"]  # of more digits than the table of predictions has
    yield Headline("Log-loss", f"{value:.3g}", f"0 is best, {guessing}; {ends}")
    ece = inputs.metrics["ece"]
    if ece is not None:
        note = "how far stated probabilities are off, on average"
        yield Headline("Calibration error", percent(ece), note)


def _share(name: str, right: NDArray[np.bool_], what: str) -> Headline:
    hits, n = int(right.sum()), len(right)
    ends = _between(*map(percent, wilson_interval(hits, n)))
    return Headline(name, percent(hits / n), f"{hits} of {n} {what}; {ends}")


def _between(low: str, high: str) -> str:
    return f"95 % interval {low} to {high}"


def _maps(trust: Trust) -> Iterator[Headline]:
    """How often the first method is better than knowing nothing of the network."""
    if trust.columns[0].is_baseline:
        return
    compared = [row for row in trust.rows if row.compared]
    if not compared:
        return
    better = sum(row.cells[0].beats for row in compared)
    note = (
        f"of the measures that can be tested, those in which {trust.columns[0].title} is better "
        "than every baseline, for certain"
    )
    yield Headline("Maps", f"{better} of {len(compared)}", note)


def _images(inputs: Inputs) -> Headline:
    sizes = inputs.subset_sizes
    note = (
        f"{sizes.get('train', 0)} to train, {sizes.get('val', 0)} to validate, "
        f"{sizes.get('test', 0)} to test; {len(inputs.quarantine)} more could not be used, "
        f"{len(inputs.duplicates)} are near-duplicates"
    )
    return Headline("Images", str(sum(sizes.values())), note)
