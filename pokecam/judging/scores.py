"""The measures that give one number for each test image and method.

The map of the predicted class is judged, as it is displayed, beside three baselines that do not
depend on the network. The measures of parts have a fourth one, the areas of the parts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pokecam.judging import faithfulness, localization
from pokecam.judging.case import Case, Indices, select_images
from pokecam.judging.ground_truth import GroundTruth, find_ground_truth
from pokecam.judging.heatmaps import heatmaps_of_predicted
from pokecam.judging.measures import ALWAYS, MEASURES, JudgeSettings
from pokecam.judging.parallel import map_images
from pokecam.judging.parts import PartScores, score_parts
from pokecam.judging.redrawing import Redrawing

SAME_MAP = 1e-5  # heatmaps that differ by at most this are taken for the same

Floats = NDArray[np.floating]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The scores of N images and M methods.

    Attributes:
        values: measure → (N, M), NaN where an image was not measured or has no answer.
        hits: (N, M, D, T), from which MaxBoxAccV2 is computed; NaN likewise.
        counts: (N, M, 2, bins + 1), from which PxAP is computed; NaN likewise.
        areas: measure → (N,), the measures of parts for the areas of the parts alone.
        drops: the rows of `parts.PartScores`, for every part that was left out of a drawing.
    """

    values: dict[str, Numbers]
    hits: Numbers
    counts: Numbers
    areas: dict[str, Numbers]
    drops: pd.DataFrame


@dataclass(frozen=True)
class _Localization:
    """Of one image: measure → (M,), and its rows of `Scores.hits` and `Scores.counts`."""

    values: dict[str, Numbers]
    hits: Numbers
    counts: Numbers


def score(case: Case, settings: JudgeSettings, redrawing: Redrawing | None = None) -> Scores:
    """Take the measures.

    Args:
        case: N images and M methods.
        settings: which measures.
        redrawing: of a drawn source; without it parts are not measured.
    """
    N, M = len(case.rows), len(case.methods)
    groups = {ALWAYS, *settings.judge_measures}
    values = {
        name: np.full((N, M), np.nan) for name, entry in MEASURES.items() if entry.group in groups
    }
    hits = np.full((N, M, len(localization.DELTAS), len(localization.THRESHOLDS)), np.nan)
    counts = np.full((N, M, 2, localization.BINS + 1), np.nan)

    def localize(i: int, heatmaps: Floats) -> tuple[Numbers, _Localization | None]:
        is_constant = (heatmaps.max(axis=(2, 3)) == heatmaps.min(axis=(2, 3)))[0].astype(float)
        ground_truth = None
        if "localization" in groups:
            ground_truth = find_ground_truth(case.packed, case.rows[[i]])
        return is_constant, None if ground_truth is None else _localize(heatmaps, ground_truth)

    def start(indices: Indices, x: Tensor) -> list[Callable]:
        heatmaps = heatmaps_of_predicted(case, indices, x)
        return [partial(localize, int(i), heatmaps[k : k + 1]) for k, i in enumerate(indices)]

    for i, (constant, result) in enumerate(map_images(case, case.rows, start, "maps and boxes")):
        values["constant"][i] = constant
        if result is not None:
            hits[i], counts[i] = result.hits, result.counts
            for name, numbers in result.values.items():
                values[name][i] = numbers
    areas, drops = _score_slow_measures(case, settings, redrawing, values)
    return Scores(values, hits, counts, areas, drops)


def _score_slow_measures(
    case: Case,
    settings: JudgeSettings,
    redrawing: Redrawing | None,
    values: dict[str, Numbers],
) -> tuple[dict[str, Numbers], pd.DataFrame]:
    """Take the measures that run the network many times an image, of some images.

    Returns:
        `Scores.areas` and `Scores.drops`; the other measures are written into `values`.
    """
    selected = select_images(case.labels, settings.judge_images)
    possible = ["faithfulness"] if redrawing is None else ["faithfulness", "parts"]
    groups = [name for name in possible if name in settings.judge_measures]

    def measure(numbers: Indices, x: Tensor) -> list[Callable]:
        indices = selected[numbers]
        heatmaps = heatmaps_of_predicted(case, indices, x)
        scores: dict[str, Floats] = {}
        if "faithfulness" in groups:
            targets = torch.from_numpy(case.predicted[indices])
            seeds = (settings.seed + indices).tolist()
            scores = _faithfulness(case, x, targets, heatmaps, seeds)
        return [
            partial(
                finish,
                int(index),
                {name: numbers[k] for name, numbers in scores.items()},
                heatmaps[k],
            )
            for k, index in enumerate(indices)
        ]

    def finish(
        index: int, scores: dict[str, Floats], heatmaps: Floats
    ) -> tuple[dict[str, Floats], PartScores | None]:
        if redrawing is None or "parts" not in groups:
            return scores, None
        of_parts = score_parts(case, redrawing, index, heatmaps)
        return scores | of_parts.of_maps, of_parts

    columns = ["file", "label", "part", "area_px", "drop", *case.methods]
    areas = {
        name: np.full(len(case.rows), np.nan)
        for name, entry in MEASURES.items()
        if entry.group == "parts" and "parts" in groups
    }
    drops: list[dict] = []
    if groups:
        results = map_images(case, case.rows[selected], measure, ", ".join(groups))
        for index, (scores, of_parts) in zip(selected, results, strict=True):
            for name, numbers in scores.items():
                values[name][index] = numbers
            if of_parts is not None:
                drops += of_parts.rows
                for name, number in of_parts.of_areas.items():
                    areas[name][index] = number
    return areas, pd.DataFrame(drops, columns=columns)


def distinct(heatmaps: Floats) -> tuple[list[int], list[int]]:
    """Find methods with the same heatmaps, which need not be measured twice.

    CAM and Grad-CAM, for example, are the same with a head of pooling and one linear layer.

    Args:
        heatmaps: (n, M, S, S).

    Returns:
        The methods whose heatmaps differ from those of all methods before them; and for each of
        the M methods the position in that list of the method with the same heatmaps.
    """
    firsts: list[int] = []
    positions = []
    for m in range(heatmaps.shape[1]):
        same = (
            k for k in firsts if np.allclose(heatmaps[:, m], heatmaps[:, k], rtol=0, atol=SAME_MAP)
        )
        first = next(same, m)
        if first == m:
            firsts.append(m)
        positions.append(firsts.index(first))
    return firsts, positions


def _localize(heatmaps: Floats, ground_truth: GroundTruth) -> _Localization:
    """Compare the heatmaps (1, M, S, S) of one image with its ground truth."""
    firsts, positions = distinct(heatmaps)
    names = [name for name, entry in MEASURES.items() if entry.group == "localization"]
    values = {name: np.empty(len(firsts)) for name in names}
    hits, counts = [], []
    for k, m in enumerate(firsts):
        maps = heatmaps[:, m]
        values["pointing"][k] = localization.pointing_game(maps, ground_truth.masks)[0]
        values["energy"][k] = localization.energy_inside(maps, ground_truth.masks)[0]
        for name, threshold in (("box_15", 0.15), ("box_20", 0.2)):
            values[name][k] = _box_iou(localization.box(maps[0], threshold), ground_truth.boxes[0])
        hits.append(localization.box_hits(localization.best_ious(maps, ground_truth.boxes))[0])
        counts.append(localization.value_counts(maps, ground_truth.masks)[0])
    return _Localization(
        {name: numbers[positions] for name, numbers in values.items()},
        np.stack(hits)[positions],
        np.stack(counts)[positions],
    )


def _box_iou(box: Numbers | None, true_boxes: Numbers) -> float:
    if len(true_boxes) == 0:
        return np.nan
    return 0.0 if box is None else float(localization.iou(box[None], true_boxes).max())


def _faithfulness(
    case: Case, x: Tensor, targets: Tensor, heatmaps: Floats, seeds: Sequence[int]
) -> dict[str, Floats]:
    """Return measure → (n, M) for the heatmaps (n, M, S, S) of n images."""
    firsts, positions = distinct(heatmaps)
    heatmaps = heatmaps[:, firsts]
    network = case.probabilities
    pixels = faithfulness.order(heatmaps)
    curves = faithfulness.deletion_insertion(network, x, targets, pixels)
    drops, increases = faithfulness.drop_and_increase(network, x, targets, heatmaps)
    removal = faithfulness.road(network, x, targets, pixels, seeds)
    scores = {
        "deletion": faithfulness.area(curves.deletion),
        "insertion": faithfulness.area(curves.insertion),
        "drop": drops,
        "increase": increases,
        "road": removal.combined,
        "flip": faithfulness.flip_share(removal.flipped),
    }
    return {name: numbers[:, positions] for name, numbers in scores.items()}
