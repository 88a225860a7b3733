"""All maps of all test pictures against all measures, and the tables that come of it.

What is judged is the map of the predicted class, as it is displayed, beside three baselines that
know nothing of the network. Each measure is defined in the module that its group is named after.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from pokecam import background, contrast, faithfulness, layers, localization, parts, sanity
from pokecam.cam.core import capture, compute
from pokecam.cam.display import display
from pokecam.cam.methods import METHODS
from pokecam.classifier import Classifier, in_batches, predict
from pokecam.folding import folded
from pokecam.images import Packed
from pokecam.params import Settings, one_of

BASELINES = ("random", "centre", "edges")
GROUPS = ("faithfulness", "localization", "parts", "lookalikes", "background", "sanity")
TWINS = 1e-5  # maps that differ by no more are one
SANITY_PICTURES = 20  # at most; the network is made anew for all of them
SANITY_PX = 112  # side at which maps are compared with those of a network made fresh

Floats = NDArray[np.floating]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """What one column of the scores says.

    title: what the papers call it. group: of `GROUPS`. better: 1 if more is better, −1 if less.
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
class Case:
    """What is judged: N test pictures and M methods, the baselines among them.

    classifier: the trained network. layer: the one that maps are made of, as in `layers.at`.
    packed, rows: the pictures, and which of them, (N,).
    predicted: (N,) int, the class whose map is judged. maps: method → raw maps (N, C or 1, h, w),
        memory-mapped or not. methods: their names, then the baselines.
    """

    classifier: Classifier
    layer: str | None
    packed: Packed
    rows: NDArray[np.intp]
    predicted: NDArray[np.intp]
    maps: Mapping[str, np.ndarray]

    @cached_property
    def network(self) -> Classifier:
        """The same network, faster."""
        return folded(layers.at(self.classifier, self.layer))

    @property
    def alike(self) -> list[list[int]]:
        """Groups of look-alikes by index."""
        classes = self.packed.classes
        return [[classes.index(name) for name in group] for group in self.packed.lookalikes]

    @property
    def methods(self) -> list[str]:
        return [*self.maps, *(name for name in BASELINES if name not in self.maps)]

    @cached_property
    def seeds(self) -> pd.Series:
        """File → the seed of its drawn scene."""
        assert self.packed.scenes is not None
        return self.packed.scenes.set_index("image").seed

    @property
    def labels(self) -> list[str]:
        return self.packed.manifest.label.iloc[self.rows].to_list()

    def shown(self, x: Tensor, raw: Callable[[str], Floats]) -> Floats:
        """The displayed maps (n, M, S, S) of n pictures.

        x: their input (n, 3, S, S). raw: gives the raw maps (n, h, w) of one of `maps`.
        """
        captured = capture(self.network, x)
        made = (
            raw(name) if name in self.maps else compute(captured, name)[:, 0].cpu().numpy()
            for name in self.methods
        )
        return np.stack([display(one, x.shape[-1]) for one in made], axis=1)

    def of_class(self, name: str, some: NDArray[np.intp], target: NDArray[np.intp]) -> Floats:
        """The raw maps (n, h, w) of some pictures, (n,), each for one class, (n,)."""
        maps = self.maps[name]
        return np.asarray(maps[some, target if maps.shape[1] > 1 else 0])

    def of_predicted(self, some: NDArray[np.intp], x: Tensor) -> Floats:
        """As `shown`, of the predicted classes."""
        return self.shown(x, lambda name: self.of_class(name, some, self.predicted[some]))

    def of_difference(
        self,
        some: NDArray[np.intp],
        x: Tensor,
        of: NDArray[np.intp],
        against: NDArray[np.intp],
    ) -> Floats:
        """As `shown`, of what speaks for one class against another: the difference of their maps,
        which for CAM and Grad-CAM is the map of the difference of their logits; the first class's
        own for a method that compares anyway."""

        def raw(name: str) -> Floats:
            own = self.of_class(name, some, of)
            compares = METHODS[name].finer or not METHODS[name].per_class
            return own if compares else own - self.of_class(name, some, against)

        return self.shown(x, raw)


@dataclass(frozen=True)
class Truth:
    """Where the object is in n pictures: masks bool (n, S, S), and n arrays (k, 4) of boxes as in
    `localization`; empty where it is not known."""

    masks: NDArray[np.bool_]
    boxes: list[Numbers]


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
    groups = set(settings.judge_measures)
    values = {
        name: np.full((N, M), np.nan) for name, entry in MEASURES.items() if entry.group in groups
    }
    hits = np.full((N, M, len(localization.DELTAS), len(localization.THRESHOLDS)), np.nan)
    counts = np.full((N, M, 2, localization.BINS + 1), np.nan)
    drops: list[dict] = []
    dear = chosen(case.labels, settings.judge_pictures)
    network = probability(case.network)
    for start, x in in_batches(case.network, case.packed.pixels, case.rows, lambda x: x):
        some = slice(start, start + len(x))
        shown = case.of_predicted(np.arange(start, start + len(x)), x)
        truth = truths(case.packed, case.rows[some]) if "localization" in groups else None
        if truth is not None:
            _localize(shown, truth, some, values, hits, counts)
        asked = np.flatnonzero(dear[some])
        if "faithfulness" in groups and len(asked):
            target = torch.from_numpy(case.predicted[some][asked])
            at = start + asked
            kept, twin = distinct(shown[asked])
            for name, found in _faithful(
                network, x[asked], target, shown[asked][:, kept], (settings.seed + at).tolist()
            ).items():
                values[name][at] = found[:, twin]
        if "parts" in groups and redrawing is not None:
            for i in asked:
                ranks, rows = _ask_parts(case, redrawing, start + int(i), shown[i])
                values["parts"][start + i] = ranks
                drops += rows
    names = ["file", "label", "part", "area_px", "drop", *case.methods]
    return Scores(values, hits, counts, pd.DataFrame(drops, columns=names))


def chosen(labels: Sequence[str], n_pictures: int) -> NDArray[np.bool_]:
    """Which pictures the measures that take time are asked of: `n_pictures`, classes taking turns
    as long as they have any, in the order of the pictures."""
    turn = pd.Series(range(len(labels))).groupby(np.asarray(labels)).cumcount()
    first = turn.sort_values(kind="stable").index[:n_pictures]
    return np.isin(np.arange(len(labels)), first)


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


def truths(packed: Packed, rows: NDArray[np.intp]) -> Truth | None:
    """Where the object is in some pictures; None if the source says it of none."""
    if packed.masks is None and packed.boxes is None:
        return None
    of_file: dict[str, Numbers] = {}
    if packed.boxes is not None:
        edges = ["xmin", "ymin", "xmax", "ymax"]
        of_file = {
            str(file): some[edges].to_numpy(float) for file, some in packed.boxes.groupby("image")
        }
    files = packed.manifest.file.iloc[rows]
    boxes = [of_file.get(file, np.zeros((0, 4))) for file in files]
    if packed.masks is None:
        return Truth(localization.masks_of_boxes(boxes, packed.pixels.shape[1]), boxes)
    masks = packed.masks[rows] > 0
    return Truth(masks, boxes if of_file else localization.boxes_of_masks(masks))


def probability(classifier: Classifier) -> faithfulness.Network:
    """What gives the probabilities (n, C) of input (n, 3, S, S), on the classifier's device."""
    device = next(classifier.parameters()).device
    classifier.eval()

    @torch.inference_mode()
    def network(x: Tensor) -> Tensor:
        return classifier(x.to(device)).softmax(dim=1)

    return network


def _localize(
    shown: Floats,
    truth: Truth,
    some: slice,
    values: dict[str, Floats],
    hits: Floats,
    counts: Floats,
) -> None:
    for m in range(shown.shape[1]):
        one = shown[:, m]
        values["pointing"][some, m] = localization.pointing_game(one, truth.masks)
        values["energy"][some, m] = localization.energy_inside(one, truth.masks)
        for name, threshold in (("box_15", 0.15), ("box_20", 0.2)):
            drawn = (localization.box(map_, threshold) for map_ in one)
            pairs = zip(drawn, truth.boxes, strict=True)
            values[name][some, m] = [_box_iou(*pair) for pair in pairs]
        hits[some, m] = localization.box_hits(localization.best_ious(one, truth.boxes))
        counts[some, m] = localization.value_counts(one, truth.masks)


def _box_iou(drawn: Numbers | None, true: Numbers) -> float:
    if len(true) == 0:
        return np.nan
    return 0.0 if drawn is None else float(localization.iou(drawn[None], true).max())


def _ask_parts(
    case: Case, redrawing: parts.Redrawing, i: int, shown: Floats
) -> tuple[Floats, list[dict]]:
    """For one picture, each map's rank correlation (M,), and a row for every part."""
    number = case.rows[i]
    row = case.packed.manifest.iloc[number]
    assert case.packed.masks is not None
    names = redrawing.parts(row.label)
    regions = parts.visible(case.packed.masks[number], names)
    if not regions:
        return np.full(len(shown), np.nan), []
    pictures = [frozenset[str](), *(frozenset({name}) for name in regions)]
    drawn = np.stack([redrawing.picture(row.label, int(case.seeds[row.file]), w) for w in pictures])
    logits = predict(case.network, drawn, np.arange(len(drawn)))[:, case.predicted[i]].numpy()
    drops = logits[0] - logits[1:]
    mass = parts.masses(shown, regions)  # (M, parts)
    rows = [
        {
            "file": row.file,
            "label": row.label,
            "part": name,
            "area_px": int((case.packed.masks[number] == names.index(name) + 1).sum()),
            "drop": drop,
            **dict(zip(case.methods, of_part, strict=True)),
        }
        for name, drop, of_part in zip(regions, drops.tolist(), mass.T.tolist(), strict=True)
    ]
    return np.array([parts.rank_correlation(drops, one) for one in mass]), rows


def _faithful(
    network: faithfulness.Network, x: Tensor, target: Tensor, shown: Floats, seeds: list[int]
) -> dict[str, Floats]:
    places = faithfulness.ranks(shown)
    curves = faithfulness.deletion_insertion(network, x, target, places)
    drops, rises = faithfulness.seen_through(network, x, target, shown)
    removal = faithfulness.road(network, x, target, places, seeds)
    return {
        "deletion": faithfulness.area(curves.deletion),
        "insertion": faithfulness.area(curves.insertion),
        "drop": drops,
        "increase": rises,
        "road": removal.combined,
        "flip": faithfulness.flip_share(removal.flipped),
    }


def backgrounds(case: Case) -> pd.DataFrame:
    """file, label, condition, right: whether every test picture is named right under every
    condition of `background.conditions`; of pictures whose object is known."""
    rows: list[tuple[str, str, str, float]] = []
    labels = np.array([case.packed.classes.index(label) for label in case.labels])
    files = case.packed.manifest.file.iloc[case.rows].to_list()
    network = probability(case.network)
    for start, x in in_batches(case.network, case.packed.pixels, case.rows, lambda x: x):
        some = slice(start, start + len(x))
        truth = truths(case.packed, case.rows[some])
        if truth is None:
            break
        known = truth.masks.any(axis=(1, 2))
        masks = torch.from_numpy(truth.masks).to(x.device)
        for condition, pictures in background.conditions(x, masks).items():
            predicted = network(pictures).argmax(dim=1).cpu().numpy()
            right = predicted == labels[some]
            rows += [
                (files[start + n], case.labels[start + n], condition, float(right[n]))
                for n in np.flatnonzero(known)
            ]
    return pd.DataFrame(rows, columns=["file", "label", "condition", "right"])


def look_alikes(
    case: Case, settings: JudgeSettings, redrawing: parts.Redrawing | None = None
) -> pd.DataFrame:
    """file, label, against, method, margin, drop, differing: a row for every asked picture of a
    class in a group of look-alikes, every other class of the group, and every method.

    margin, drop: as of `contrast.margin_drops`, in logits. differing: of a drawn source, the rank
    correlation of the map's mass on a part with how far the two species' drawings of it differ.
    """
    asked = np.flatnonzero(chosen(case.labels, settings.judge_pictures))
    classes = case.packed.classes
    tasks = [
        (i, own, other)
        for i in asked
        for own in [classes.index(case.labels[i])]
        for group in case.alike
        if own in group
        for other in group
        if other != own
    ]
    columns = ["file", "label", "against", "method", "margin", "drop", "differing"]
    if not tasks:
        return pd.DataFrame(columns=columns)
    which, of, against = np.array(tasks).T
    rows = []
    logits = torch.inference_mode()(case.network.eval().forward)
    for start, x in in_batches(case.network, case.packed.pixels, case.rows[which], lambda x: x):
        some = slice(start, start + len(x))
        shown = case.of_difference(which[some], x, of[some], against[some])
        margins, drops = contrast.margin_drops(
            logits,
            x,
            torch.from_numpy(of[some]),
            torch.from_numpy(against[some]),
            shown,
            (settings.seed + which[some]).tolist(),
        )
        for n, (i, own, other) in enumerate(tasks[some]):
            differing = np.full(shown.shape[1], np.nan)
            if redrawing is not None:
                differing = _on_differing_parts(case, redrawing, int(i), classes[other], shown[n])
            file = case.packed.manifest.file.iloc[case.rows[i]]
            rows += [
                (file, classes[own], classes[other], method, margins[n], drops[n, m], differing[m])
                for m, method in enumerate(case.methods)
            ]
    return pd.DataFrame(rows, columns=columns)


def _on_differing_parts(
    case: Case, redrawing: parts.Redrawing, i: int, other: str, shown: Floats
) -> Floats:
    """For one picture, each map's rank correlation (M,)."""
    number = case.rows[i]
    row = case.packed.manifest.iloc[number]
    assert case.packed.masks is not None
    regions = parts.visible(case.packed.masks[number], redrawing.parts(row.label))
    if not regions:
        return np.full(len(shown), np.nan)
    differ = redrawing.differences(row.label, other, int(case.seeds[row.file]))
    expected = np.array([differ[name] for name in regions])
    return np.array([parts.rank_correlation(expected, one) for one in parts.masses(shown, regions)])


def after_randomisation(case: Case, settings: JudgeSettings) -> pd.DataFrame:
    """method, block, rank_correlation, ssim, n, constant, unchanged: the maps of up to
    `SANITY_PICTURES` pictures with those of a network whose weights are fresh from its head down
    to that block (`sanity.randomised`); means over pictures.

    constant: pictures of which the fresh network has no map, left out of rank_correlation.
    unchanged: whether a method passes for one that does not depend on the network at all; asked
        of the last block, the whole network, and so the same in every row of a method.
    """
    asked = np.flatnonzero(chosen(case.labels, min(settings.judge_pictures, SANITY_PICTURES)))
    target = case.predicted[asked]
    before = {name: display(case.of_class(name, asked, target), SANITY_PX) for name in case.maps}
    rows, last = [], {}
    for block, fresh in sanity.randomised(case.classifier, settings.seed):
        cut = layers.at(fresh, case.layer)
        made: dict[str, list[np.ndarray]] = {name: [] for name in case.maps}
        for _, captured in in_batches(
            cut, case.packed.pixels, case.rows[asked], partial(capture, cut)
        ):
            for name, parts_made in made.items():
                parts_made.append(compute(captured, name, case.alike).cpu().numpy())
        for name, several in made.items():
            raw = np.concatenate(several)
            of_each = raw[np.arange(len(asked)), target if raw.shape[1] > 1 else 0]
            now = display(of_each, SANITY_PX)
            ranks = sanity.rank_correlation(before[name], now)
            known = ranks[~np.isnan(ranks)]
            last[name] = sanity.unchanged(ranks)
            rows.append(
                {
                    "method": name,
                    "block": block,
                    "rank_correlation": known.mean() if len(known) else np.nan,
                    "ssim": sanity.ssim(before[name], now).mean(),
                    "n": len(asked),
                    "constant": len(asked) - len(known),
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(unchanged=table.method.map(last))
