"""All maps of all test pictures against the measures that have one figure for each.

What is judged is the map of the predicted class, as it is displayed, beside three baselines that
know nothing of the network.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from pokecam.common.params import Settings, one_of
from pokecam.judging import faithfulness, localization, parts
from pokecam.judging.case import Case, Floats, Numbers, Truth, chosen

ALWAYS = "always"
GROUPS = (
    *("faithfulness", "localization", "parts", "lookalikes", "background", "sanity"),
    "shuffled_labels",
)
TWINS = 1e-5  # maps that differ by no more are one


@dataclass(frozen=True)
class Measure:
    """What one column of the scores says.

    title: what the papers call it. group: of `GROUPS`, or `ALWAYS`.
    better: 1 if more is better, −1 if less.
    meaning: in half a sentence, for the report.
    """

    title: str
    group: str
    better: int
    meaning: str


MEASURES = {
    "deletion": Measure(
        "Deletion", "faithfulness", -1, "probability left while the most salient pixels go"
    ),
    "insertion": Measure(
        "Insertion",
        "faithfulness",
        1,
        "probability while the most salient pixels come back over a blurred picture",
    ),
    "road": Measure(
        "ROAD",
        "faithfulness",
        1,
        "how much more probable the class stays without the least relevant pixels than without "
        "the most relevant ones, halved",
    ),
    "flip": Measure(
        "Flip",
        "faithfulness",
        -1,
        "share of the most relevant pixels that has to go before another class is predicted",
    ),
    "drop": Measure(
        "Average drop", "faithfulness", -1, "share of the probability lost where the map is dark"
    ),
    "increase": Measure(
        "Increase",
        "faithfulness",
        1,
        "share of pictures that become more probable where the map is dark",
    ),
    "pointing": Measure(
        "Pointing game", "localization", 1, "share of maps whose highest point is on the object"
    ),
    "energy": Measure("Energy inside", "localization", 1, "share of the map that is on the object"),
    "box_15": Measure(
        "Box at 15 %", "localization", 1, "overlap (IoU) of the box around the map and the true one"
    ),
    "box_20": Measure("Box at 20 %", "localization", 1, "the same at a higher threshold"),
    "constant": Measure(
        "Constant maps",
        ALWAYS,
        -1,
        "share of maps that point nowhere; pixels of equal value go in reading order",
    ),
    "parts": Measure(
        "Part ranks",
        "parts",
        1,
        "rank correlation of what parts are worth in the map and to the network",
    ),
}
# Of all pictures together; there is no such thing for one.
OF_ALL = {
    "max_box_acc_v2": Measure(
        "MaxBoxAccV2", "localization", 1, "share of right boxes at the best threshold"
    ),
    "px_ap": Measure(
        "PxAP", "localization", 1, "how well the map tells pixels of the object from others"
    ),
}


class JudgeSettings(Settings):
    """Which groups of measures are taken, and of how many pictures those that take time."""

    judge_measures: Annotated[list[Annotated[str, one_of(GROUPS)]], Field(min_length=1)]
    judge_pictures: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True)
class Scores:
    """What the measures say.

    values: measure → (N, M), NaN where a picture was not asked or has no answer.
    hits: (N, M, D, T); counts: (N, M, 2, bins + 1): what `OF_ALL` is made of; NaN likewise.
    drops: file, label, part, area_px, drop and each method's mass, a row for every part that was
        left out.
    """

    values: dict[str, Numbers]
    hits: Numbers
    counts: Numbers
    drops: pd.DataFrame


def score(case: Case, settings: JudgeSettings, redrawing: parts.Redrawing | None = None) -> Scores:
    """Take the measures. redrawing: of a drawn source; without it parts are not asked about."""
    N, M = len(case.rows), len(case.methods)
    groups = {ALWAYS, *settings.judge_measures}
    values = {
        name: np.full((N, M), np.nan) for name, entry in MEASURES.items() if entry.group in groups
    }
    hits = np.full((N, M, len(localization.DELTAS), len(localization.THRESHOLDS)), np.nan)
    counts = np.full((N, M, 2, localization.BINS + 1), np.nan)

    def look(i: int, x: Tensor) -> None:
        some = np.array([i])
        shown = case.of_predicted(some, x)
        values["constant"][some] = (shown.max(axis=(2, 3)) == shown.min(axis=(2, 3))).astype(float)
        truth = case.truth(some) if "localization" in groups else None
        if truth is not None:
            kept, twin = distinct(shown)
            found, hit, counted = _localize(shown[:, kept], truth)
            hits[some], counts[some] = hit[:, twin], counted[:, twin]
            for name, figures in found.items():
                values[name][some] = figures[:, twin]

    case.each(look, case.rows, "maps and boxes")
    drops = _run_often(case, settings, redrawing, values)
    return Scores(values, hits, counts, drops)


def _run_often(
    case: Case,
    settings: JudgeSettings,
    redrawing: parts.Redrawing | None,
    values: dict[str, Numbers],
) -> pd.DataFrame:
    """Take the measures that run the network many times a picture, of some pictures; return what
    was found for every part, as `Scores.drops`."""
    asked = np.flatnonzero(chosen(case.labels, settings.judge_pictures))
    able = ["faithfulness"] if redrawing is None else ["faithfulness", "parts"]
    wanted = [name for name in able if name in settings.judge_measures]
    drops: dict[int, list[dict]] = {}

    def judge(i: int, x: Tensor) -> None:
        number = int(asked[i])
        shown = case.of_predicted(asked[[i]], x)
        if "faithfulness" in wanted:
            kept, twin = distinct(shown)
            target = torch.from_numpy(case.predicted[[number]])
            found = _faithful(case.probability, x, target, shown[:, kept], settings.seed + number)
            for name, figures in found.items():
                values[name][number] = figures[0, twin]
        if redrawing is not None and "parts" in wanted:
            values["parts"][number], drops[number] = parts.ask(case, redrawing, number, shown[0])

    if wanted:
        case.each(judge, case.rows[asked], ", ".join(wanted))
    names = ["file", "label", "part", "area_px", "drop", *case.methods]
    rows = [row for number in sorted(drops) for row in drops[number]]
    return pd.DataFrame(rows, columns=names)


def distinct(shown: Floats) -> tuple[list[int], list[int]]:
    """Which of M methods' maps (n, M, S, S) differ from those of all methods before them, and for
    every method the place among these of the one whose maps it has. CAM and Grad-CAM, for one, are
    the same with a head of pooling and one linear layer, and need not be measured twice."""
    kept: list[int] = []
    twin = []
    for m in range(shown.shape[1]):
        same = (k for k in kept if np.allclose(shown[:, m], shown[:, k], rtol=0, atol=TWINS))
        first = next(same, m)
        if first == m:
            kept.append(m)
        twin.append(kept.index(first))
    return kept, twin


def _localize(shown: Floats, truth: Truth) -> tuple[dict[str, Numbers], Numbers, Numbers]:
    """Of maps (n, M, S, S): measure → (n, M), and `Scores.hits` and `counts` of these."""
    n, M = shown.shape[:2]
    names = [name for name, entry in MEASURES.items() if entry.group == "localization"]
    values = {name: np.empty((n, M)) for name in names}
    hits, counts = [], []
    for m in range(M):
        one = shown[:, m]
        values["pointing"][:, m] = localization.pointing_game(one, truth.masks)
        values["energy"][:, m] = localization.energy_inside(one, truth.masks)
        for name, threshold in (("box_15", 0.15), ("box_20", 0.2)):
            drawn = (localization.box(map_, threshold) for map_ in one)
            pairs = zip(drawn, truth.boxes, strict=True)
            values[name][:, m] = [_box_iou(*pair) for pair in pairs]
        hits.append(localization.box_hits(localization.best_ious(one, truth.boxes)))
        counts.append(localization.value_counts(one, truth.masks))
    return values, np.stack(hits, axis=1), np.stack(counts, axis=1)


def _box_iou(drawn: Numbers | None, true: Numbers) -> float:
    if len(true) == 0:
        return np.nan
    return 0.0 if drawn is None else float(localization.iou(drawn[None], true).max())


def _faithful(
    network: faithfulness.Network, x: Tensor, target: Tensor, shown: Floats, seed: int
) -> dict[str, Floats]:
    pixels = faithfulness.order(shown)
    curves = faithfulness.deletion_insertion(network, x, target, pixels)
    drops, rises = faithfulness.seen_through(network, x, target, shown)
    removal = faithfulness.road(network, x, target, pixels, [seed])
    return {
        "deletion": faithfulness.area(curves.deletion),
        "insertion": faithfulness.area(curves.insertion),
        "drop": drops,
        "increase": rises,
        "road": removal.combined,
        "flip": faithfulness.flip_share(removal.flipped),
    }
