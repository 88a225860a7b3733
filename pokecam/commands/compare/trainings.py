"""Groups of trainings compared: the unit is a training, not an image.

An interval over the images of one training says what other images would give. It does not say what
another seed would give: the same parameters with another seed are another network. Here a figure of
a training is one observation, and intervals and tests are over trainings.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from pokecam.commands.compare.experiments import Experiment
from pokecam.commands.compare.groups import Group
from pokecam.commands.compare.numbers import is_same_measure
from pokecam.judging.ranks import rank_correlation
from pokecam.judging.significance import CONFIDENCE, holm
from pokecam.report.trust import SIGNIFICANCE_LEVEL, MeasureRow, Trust, build_trust

Floats = NDArray[np.float64]

RESOLUTION = 1e-5  # figures in tables are rounded; smaller differences are none

# Metrics of predictions: name in metrics.json → title, and 1 if more is better, −1 if less.
METRICS = {
    "accuracy": ("Accuracy", 1),
    "macro_f1": ("Macro F1", 1),
    "lookalike_accuracy": ("Accuracy among look-alikes", 1),
    "log_loss": ("Log-loss", -1),
    "ece": ("Calibration error", -1),
}


@dataclass(frozen=True)
class Spread:
    """A figure over n trainings.

    Attributes:
        mean: NaN without a training.
        sd: the standard deviation between trainings; NaN with fewer than two.
        low: the lower end of the 95 % interval of the mean; NaN likewise, and where all trainings
            have the same figure.
        high: its upper end, likewise.
        next_low: the lower end of the interval that a further training lies in with 95 %; likewise.
        next_high: its upper end, likewise.
        n: the number of trainings that have the figure.
    """

    mean: float
    sd: float
    low: float
    high: float
    next_low: float
    next_high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """By how much the mean of a group differs from that of the first group.

    Attributes:
        value: mean − mean of the first group; over the pairs that have both figures, if the groups
            are paired.
        low: the lower end of its 95 % interval over trainings; NaN where there is none.
        high: its upper end, likewise.
        p: of the t-test; after `training_rows`, with Holm's correction over all tests. NaN where
            there is no test: with fewer than two trainings of each, or where nothing varies.
        is_paired: whether trainings of the same seeds were compared with each other.
    """

    value: float
    low: float
    high: float
    p: float
    is_paired: bool

    @property
    def is_significant(self) -> bool:
        """Whether the groups differ significantly."""
        return self.p < SIGNIFICANCE_LEVEL


@dataclass(frozen=True)
class TrainingRow:
    """A figure, with its spread in every group.

    Attributes:
        title: its name.
        more_is_better: False if less is better.
        spreads: one for each group.
        differences: one for each group but the first.
    """

    title: str
    more_is_better: bool
    spreads: list[Spread]
    differences: list[Difference]


@dataclass(frozen=True)
class Agreement:
    """How much the trainings of a group agree about the same images.

    Means over pairs of trainings, of means over images.

    Attributes:
        n_pairs: pairs of trainings that have common test images.
        n_images: the mean number of common test images of a pair.
        same_prediction: the share of images with the same prediction.
        same_image: the rank correlation of the two networks' raw maps of an image for its true
            class, without negative values.
        other_image: that of the map of an image by one network with the map of another image of the
            class by the other network: what the correlation is without anything of the image.
        n_part_images: the mean number of images of a pair whose parts were measured and whose
            predictions are the same; the parts are those of the predicted class.
        heaviest_part: the share of these in which both heatmaps have most mass on the same part;
            empty maps are left out. NaN for images that are not drawn.
        decisive_part: the share of these in which the same part is the most important one to both
            networks, which no map is needed for; NaN likewise.
    """

    n_pairs: int
    n_images: float
    same_prediction: float
    same_image: float
    other_image: float
    n_part_images: float
    heaviest_part: float
    decisive_part: float


@dataclass(frozen=True)
class Finding:
    """Something that the report of a training can say about the map.

    Attributes:
        text: what it says.
        counts: one for each group: the number of trainings whose report says it.
        n: one for each group: the number of trainings in which it was tested.
    """

    text: str
    counts: list[int]
    n: list[int]

    @property
    def depends_on_seed(self) -> bool:
        """Whether there is a group in which some trainings say it, and others do not."""
        return any(0 < count < n for count, n in zip(self.counts, self.n, strict=True))


def spread(values: Floats) -> Spread:
    """Summarise a figure over trainings, with intervals of Student's t.

    The interval of the mean is mean ± t · sd / √n, and that of a further training is
    mean ± t · sd · √(1 + 1/n), both with n − 1 degrees of freedom. Both take the figures of
    trainings as normally distributed, so an end can lie beyond the range of a share.

    Args:
        values: (n,), one of each training. NaNs are left out.
    """
    values = values[~np.isnan(values)]
    n = len(values)
    mean = float(values.mean()) if n else float("nan")
    sd = float(values.std(ddof=1)) if n > 1 else float("nan")
    if n < 2 or not _varies(values):
        return Spread(mean, sd, *(float("nan"),) * 4, n)
    t = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    of_mean, of_next = t * sd / np.sqrt(n), t * sd * np.sqrt(1 + 1 / n)
    return Spread(mean, sd, mean - of_mean, mean + of_mean, mean - of_next, mean + of_next, n)


def difference(first: Floats, other: Floats, *, is_paired: bool) -> Difference:
    """Compare two groups of trainings by Student's paired t-test, or by that of Welch 1947.

    Args:
        first: (n,) figures of the first group.
        other: (m,) figures of the other; in pairs with those of the first, if they are paired.
        is_paired: which test.
    """
    if is_paired:
        is_complete = ~np.isnan(first) & ~np.isnan(other)
        first, other = first[is_complete], other[is_complete]
        has_spread = _varies(other - first)
    else:
        first, other = first[~np.isnan(first)], other[~np.isnan(other)]
        has_spread = _varies(first) or _varies(other)
    fewest = min(len(first), len(other))
    value = float(other.mean() - first.mean()) if fewest else float("nan")
    if fewest < 2 or not has_spread:
        return Difference(value, float("nan"), float("nan"), float("nan"), is_paired)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one of the two may not vary
        if is_paired:
            test = stats.ttest_rel(other, first)
        else:
            test = stats.ttest_ind(other, first, equal_var=False)
    ends = test.confidence_interval(CONFIDENCE)
    return Difference(value, float(ends.low), float(ends.high), float(test.pvalue), is_paired)


def training_rows(groups: Sequence[Group]) -> list[TrainingRow]:
    """Compute a row for every metric, and every measure of the map, that all groups have."""
    orders = [  # of the trainings of each group, so that those of the same seeds are pairs
        sorted(range(len(group.experiments)), key=group.seeds.__getitem__) for group in groups
    ]
    pairings = [sorted(group.seeds) == sorted(groups[0].seeds) for group in groups]
    rows = []
    for title, better, values in figures(groups):
        first, *other_groups = [
            numbers[order] for numbers, order in zip(values, orders, strict=True)
        ]
        differences = [
            difference(first, other, is_paired=is_paired)
            for other, is_paired in zip(other_groups, pairings[1:], strict=True)
        ]
        rows.append(TrainingRow(title, better > 0, list(map(spread, values)), differences))
    p_values = np.array([d.p for row in rows for d in row.differences])
    is_test = ~np.isnan(p_values)
    p_values[is_test] = holm(p_values[is_test])
    corrected = iter(p_values.tolist())
    return [
        replace(row, differences=[replace(d, p=next(corrected)) for d in row.differences])
        for row in rows
    ]


def agreement(group: Group) -> Agreement:
    """Compare the trainings of a group with each other, image by image."""
    pairs = [
        pair
        for first, other in combinations(group.experiments, 2)
        if (pair := _pair_agreement(first, other))
    ]
    if not pairs:
        return Agreement(0, 0.0, *(float("nan"),) * 3, 0.0, *(float("nan"),) * 2)
    table = pd.DataFrame(pairs)
    return Agreement(n_pairs=len(table), **table.mean().to_dict())


def findings(groups: Sequence[Group]) -> list[Finding]:
    """Count in how many trainings the report finds something about the map.

    A comparison with another method that no training finds significant is left out, and so is a
    map that is not judged: a baseline, or the evidence against a class.
    """
    trusts = [
        [(build_trust(e.judgement), group.title) for e in group.experiments] for group in groups
    ]
    between_methods = _count(trusts, _method_findings)
    return [
        *_count(trusts, _baseline_findings),
        *(finding for finding in between_methods if any(finding.counts)),
    ]


def figures(groups: Sequence[Group]) -> list[tuple[str, int, list[Floats]]]:
    """Return the title of each figure, whether more is better, and its values in each group."""
    rows = []
    for name, (title, better) in METRICS.items():
        values = [
            np.array([e.metrics.get(name) for e in group.experiments], float) for group in groups
        ]
        rows.append((title, better, values))
    entries = [e.judgement.about["measures"] for group in groups for e in group.experiments]
    for name, entry in entries[0].items():
        if not all(is_same_measure(other.get(name), entry) for other in entries):
            continue
        values = [np.array([_measure(e, name) for e in group.experiments]) for group in groups]
        rows.append((entry["title"], entry["better"], values))
    return [row for row in rows if all(not np.isnan(values).all() for values in row[2])]


def _measure(experiment: Experiment, name: str) -> float:
    """Return the mean of a measure of the maps of an experiment; NaN if it has none."""
    table = experiment.judgement.measures
    is_row = (table["measure"] == name) & (table["label"] == "")
    values = table["value"][is_row & (table["method"] == experiment.method)]
    return float(values.iloc[0]) if len(values) else float("nan")


def _pair_agreement(first: Experiment, other: Experiment) -> dict[str, float] | None:
    files = [file for file in first.predictions["file"] if file in other.row_of]
    if not files:
        return None
    of_first, of_other = (e.predictions.set_index("file").loc[files] for e in (first, other))
    labels = of_first["label"].to_numpy()
    maps, other_maps = (
        np.stack([e.map_of(file) for file in files]).clip(min=0) for e in (first, other)
    )
    next_of_class = np.arange(len(files))
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        next_of_class[of_class] = np.roll(of_class, -1)
    has_other_image = next_of_class != np.arange(len(files))
    with_other_image = rank_correlation(maps, other_maps[next_of_class])[has_other_image]
    is_same = (of_first["predicted"] == of_other["predicted"]).to_numpy()
    n_part_images, heaviest, decisive = _same_parts(
        first, other, [file for file, same in zip(files, is_same, strict=True) if same]
    )
    return {
        "n_images": len(files),
        "same_prediction": float(is_same.mean()),
        "same_image": _mean(rank_correlation(maps, other_maps)),
        "other_image": _mean(with_other_image),
        "n_part_images": n_part_images,
        "heaviest_part": heaviest,
        "decisive_part": decisive,
    }


def _same_parts(
    first: Experiment, other: Experiment, files: Sequence[str]
) -> tuple[int, float, float]:
    """Return how many of the files have measured parts, and the shares of `Agreement`."""
    tables = [e.judgement.parts for e in (first, other)]
    measured = [set() if table is None else set(table["file"]) for table in tables]
    shares = []
    for columns in ((first.method, other.method), ("drop", "drop")):
        top, other_top = map(_top_parts, tables, columns)
        is_same = [top[f] == other_top[f] for f in files if f in top and f in other_top]
        shares.append(_mean(np.array(is_same, float)))
    return len(set.intersection(*measured, set(files))), shares[0], shares[1]


def _top_parts(table: pd.DataFrame | None, column: str) -> dict[str, str]:
    """Return file → the part with the highest value of a column, where it is positive."""
    if table is None or column not in table:
        return {}
    top = table.loc[table.groupby("file", sort=False)[column].idxmax()]
    top = top[top[column] > 0]
    return dict(zip(top["file"], top["part"], strict=True))


def _count(
    trusts: Sequence[Sequence[tuple[Trust, str]]],
    statements: Callable[[Trust, str], Iterator[tuple[str, bool]]],
) -> list[Finding]:
    """Count in how many trainings of each group each statement holds."""
    results: dict[str, list[list[bool]]] = {}
    for number, of_group in enumerate(trusts):
        for trust, method in of_group:
            for text, holds in statements(trust, method):
                results.setdefault(text, [[] for _ in trusts])[number].append(holds)
    return [
        Finding(
            text, [sum(answers) for answers in of_groups], [len(answers) for answers in of_groups]
        )
        for text, of_groups in results.items()
    ]


def _baseline_findings(trust: Trust, method: str) -> Iterator[tuple[str, bool]]:
    """Yield what a report can say about a method and the baselines, and whether it does."""
    for number, column in enumerate(trust.columns):
        if column.title == method and not column.is_baseline:
            for row in _tested_rows(trust):
                yield f"{row.title}: better than every baseline", row.cells[number].is_better


def _method_findings(trust: Trust, method: str) -> Iterator[tuple[str, bool]]:
    """Yield what a report can say about a method and the other methods, and whether it does."""
    pairs = {(c.measure, c.better, c.worse) for c in trust.comparisons}
    methods = [c.title for c in trust.columns if not c.is_baseline and c.title != method]
    for other, row in product(methods, _tested_rows(trust)):
        yield f"{row.title}: better than {other}", (row.title, method, other) in pairs
        yield f"{row.title}: worse than {other}", (row.title, other, method) in pairs


def _tested_rows(trust: Trust) -> list[MeasureRow]:
    return [row for row in [*trust.rows, *trust.part_rows] if row.is_tested]


def _varies(values: Floats) -> bool:
    """Whether values differ by more than their rounding."""
    return len(values) > 1 and bool(np.ptp(values) > RESOLUTION * max(1.0, np.abs(values).max()))


def _mean(values: Floats) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
