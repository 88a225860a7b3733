"""Groups of trainings compared: the unit is a training, not an image.

An interval over the images of one training says what other images would give. It does not say what
another seed would give: the same parameters with another seed are another network. Here a figure of
a training is one observation, and intervals and tests are over trainings.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from pokecam.commands.compare.experiments import Experiment
from pokecam.commands.compare.groups import Group
from pokecam.judging.significance import CONFIDENCE, holm
from pokecam.report.trust import SIGNIFICANCE_LEVEL, MeasureRow, Trust, build_trust

Floats = NDArray[np.float64]

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
        low: the lower end of the 95 % interval of the mean; NaN likewise.
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
        value: mean − mean of the first group.
        low: the lower end of its 95 % interval over trainings; NaN where there is none.
        high: its upper end, likewise.
        p: of the t-test; after `training_rows`, with Holm's correction over all rows. It is 1
            where there is no test.
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

    Means over pairs of trainings and over their common test images.

    Attributes:
        n_pairs: pairs of trainings that have common test images.
        n_images: the mean number of common test images of a pair.
        same_prediction: the share of images with the same prediction.
        same_image: the rank correlation of the maps of an image by the two networks.
        other_image: that of the map of an image by one network with the map of another image of the
            class by the other network: what the correlation is without anything of the image.
        heaviest_part: the share of images in which both maps have most mass on the same part; NaN
            for images that are not drawn.
        decisive_part: the share of images in which the same part is the most important one to both
            networks, which no map is needed for; NaN likewise.
    """

    n_pairs: int
    n_images: float
    same_prediction: float
    same_image: float
    other_image: float
    heaviest_part: float
    decisive_part: float


@dataclass(frozen=True)
class Finding:
    """Something that the report of a training states, and how many trainings of a group state it.

    Attributes:
        text: what is stated.
        counts: one for each group: in how many trainings.
        n: one for each group: trainings in which it was tested.
    """

    text: str
    counts: list[int]
    n: list[int]

    @property
    def flips(self) -> bool:
        """Whether it depends on the seed: in some group some trainings state it, others do not."""
        return any(0 < count < n for count, n in zip(self.counts, self.n, strict=True))


def spread(values: Floats) -> Spread:
    """Summarise a figure over trainings, with intervals of Student's t.

    The interval of the mean is mean ± t · sd / √n, and that of a further training is
    mean ± t · sd · √(1 + 1/n), both with n − 1 degrees of freedom. Both take the figures of
    trainings as normally distributed.

    Args:
        values: (n,), one of each training. NaNs are left out.
    """
    values = values[~np.isnan(values)]
    n = len(values)
    if n < 2:
        nothing = (float("nan"),) * 5
        return Spread(float(values[0]) if n else float("nan"), *nothing, n)
    mean, sd = float(values.mean()), float(values.std(ddof=1))
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
    else:
        first, other = first[~np.isnan(first)], other[~np.isnan(other)]
    if min(len(first), len(other)) == 0:
        return Difference(float("nan"), float("nan"), float("nan"), 1.0, is_paired)
    value = float(other.mean() - first.mean())
    varies = np.ptp(other - first) > 0 if is_paired else np.ptp(other) > 0 or np.ptp(first) > 0
    if min(len(first), len(other)) < 2 or not varies:
        return Difference(value, float("nan"), float("nan"), 1.0, is_paired)
    if is_paired:
        test = stats.ttest_rel(other, first)
    else:
        test = stats.ttest_ind(other, first, equal_var=False)
    ends = test.confidence_interval(CONFIDENCE)
    return Difference(value, float(ends.low), float(ends.high), float(test.pvalue), is_paired)


def training_rows(groups: Sequence[Group]) -> list[TrainingRow]:
    """Compute a row for every metric, and every measure of the map, that all groups have."""
    first_seeds = groups[0].seeds
    order = [  # of the trainings of each group, so that those of the same seeds are pairs
        sorted(range(len(group.experiments)), key=group.seeds.__getitem__) for group in groups
    ]
    is_paired = [sorted(group.seeds) == sorted(first_seeds) for group in groups]
    rows = []
    for title, better, values in _figures(groups):
        sorted_values = [numbers[rank] for numbers, rank in zip(values, order, strict=True)]
        differences = [
            difference(sorted_values[0], numbers, is_paired=paired)
            for numbers, paired in list(zip(sorted_values, is_paired, strict=True))[1:]
        ]
        rows.append(TrainingRow(title, better > 0, [spread(v) for v in values], differences))
    p_values = iter(holm(np.array([d.p for row in rows for d in row.differences])))
    return [
        replace(row, differences=[replace(d, p=float(next(p_values))) for d in row.differences])
        for row in rows
    ]


def agreement(group: Group) -> Agreement:
    """Compare the trainings of a group with each other, image by image."""
    figures = [
        figure
        for first, other in combinations(group.experiments, 2)
        if (figure := _pair_agreement(first, other))
    ]
    if not figures:
        return Agreement(0, 0.0, *(float("nan"),) * 5)
    table = pd.DataFrame(figures)
    return Agreement(n_pairs=len(table), **table.mean().to_dict())


def findings(groups: Sequence[Group]) -> list[Finding]:
    """Count in how many trainings the report states each of its findings about the map.

    A comparison with another method that no training finds significant is left out.
    """
    trusts = [
        [(build_trust(e.judgement), group.title) for e in group.experiments] for group in groups
    ]
    between = _count(trusts, _between_methods)
    return [*_count(trusts, _against_baselines), *(f for f in between if any(f.counts))]


def _figures(groups: Sequence[Group]) -> list[tuple[str, int, list[Floats]]]:
    """Return the title of each figure, whether more is better, and its values in each group."""
    figures = []
    for name, (title, better) in METRICS.items():
        values = [
            np.array([e.metrics.get(name) for e in group.experiments], float) for group in groups
        ]
        figures.append((title, better, values))
    entries = [e.judgement.about["measures"] for group in groups for e in group.experiments]
    for name, entry in entries[0].items():
        if any(other.get(name) != entry for other in entries):
            continue  # another version of PokeCAM measured something else by that name
        values = [np.array([_measure(e, name) for e in group.experiments]) for group in groups]
        figures.append((entry["title"], entry["better"], values))
    return [figure for figure in figures if all(not np.isnan(values).all() for values in figure[2])]


def _measure(experiment: Experiment, name: str) -> float:
    """Return the mean of a measure of the maps of an experiment; NaN if it has none."""
    table = experiment.judgement.measures
    is_it = (table["measure"] == name) & (table["label"] == "")
    values = table["value"][is_it & (table["method"] == experiment.method)]
    return float(values.iloc[0]) if len(values) else float("nan")


def _pair_agreement(first: Experiment, other: Experiment) -> dict[str, float] | None:
    files = [file for file in first.predictions["file"] if file in other.row_of]
    if not files:
        return None
    of_first, of_other = (e.predictions.set_index("file").loc[files] for e in (first, other))
    labels = of_first["label"].to_numpy()
    maps, other_maps = (
        np.stack([e.map_of(f, label).ravel() for f, label in zip(files, labels, strict=True)])
        for e in (first, other)
    )
    next_of_class = np.arange(len(files))
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        next_of_class[of_class] = np.roll(of_class, -1)
    has_another = next_of_class != np.arange(len(files))
    another = _rank_correlations(maps, other_maps[next_of_class])[has_another]
    heaviest, decisive = _same_parts(first, other)
    return {
        "n_images": len(files),
        "same_prediction": float((of_first["predicted"] == of_other["predicted"]).mean()),
        "same_image": _mean(_rank_correlations(maps, other_maps)),
        "other_image": _mean(another),
        "heaviest_part": heaviest,
        "decisive_part": decisive,
    }


def _rank_correlations(maps: Floats, other_maps: Floats) -> Floats:
    """Return Spearman's ρ of each pair of maps as displayed, without negative values: (n, P) twice
    → (n,), NaN for empty maps."""
    ranks, other_ranks = (
        stats.rankdata(m.clip(min=0), axis=1) - (m.shape[1] + 1) / 2 for m in (maps, other_maps)
    )
    norms = np.sqrt((ranks**2).sum(axis=1) * (other_ranks**2).sum(axis=1))
    products = (ranks * other_ranks).sum(axis=1)
    return np.divide(products, norms, out=np.full(len(maps), np.nan), where=norms > 0)


def _same_parts(first: Experiment, other: Experiment) -> tuple[float, float]:
    """Return the shares of images with the same heaviest, and the same decisive, part."""
    shares = []
    tables = (first.judgement.parts, other.judgement.parts)
    for columns in ((first.method, other.method), ("drop", "drop")):
        tops = [
            table.loc[table.groupby("file")[column].idxmax()].set_index("file")["part"]
            for table, column in zip(tables, columns, strict=True)
            if table is not None and column in table and len(table)
        ]
        common = tops[0].index.intersection(tops[1].index) if len(tops) == 2 else []
        is_same = [tops[0][file] == tops[1][file] for file in common]
        shares.append(_mean(np.array(is_same, float)))
    return shares[0], shares[1]


def _count(
    trusts: Sequence[Sequence[tuple[Trust, str]]],
    statements: Callable[[Trust, str], Iterator[tuple[str, bool]]],
) -> list[Finding]:
    """Count what holds in how many trainings of each group."""
    held: dict[str, list[list[bool]]] = {}
    for number, of_group in enumerate(trusts):
        for trust, method in of_group:
            for text, holds in statements(trust, method):
                held.setdefault(text, [[] for _ in trusts])[number].append(holds)
    return [
        Finding(text, [sum(h) for h in of_groups], [len(h) for h in of_groups])
        for text, of_groups in held.items()
    ]


def _against_baselines(trust: Trust, method: str) -> Iterator[tuple[str, bool]]:
    """Yield what the report of a training can state about a method, and whether it does."""
    column = [column.title for column in trust.columns].index(method)
    for row in _tested(trust):
        yield f"{row.title}: better than every baseline", row.cells[column].is_better


def _between_methods(trust: Trust, method: str) -> Iterator[tuple[str, bool]]:
    """Yield likewise, in comparison with the other methods."""
    stated = {(c.measure, c.better, c.worse) for c in trust.comparisons}
    others = [c.title for c in trust.columns if not c.is_baseline and c.title != method]
    for other, row in product(others, _tested(trust)):
        yield f"{row.title}: better than {other}", (row.title, method, other) in stated
        yield f"{row.title}: worse than {other}", (row.title, other, method) in stated


def _tested(trust: Trust) -> list[MeasureRow]:
    return [row for row in [*trust.rows, *trust.part_rows] if row.is_tested]


def _mean(values: Floats) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
