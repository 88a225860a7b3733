"""The judgement of the maps, as tables of the page."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pokecam.report.inputs import Judgement

SIGNIFICANCE_LEVEL = 0.05  # of p-values after Holm's correction
WORST_CLASSES = 3  # that the page names for each condition
PARTS_PER_CLASS = 3  # that the page names
IN_METRICS = (
    *("deletion", "insertion", "road", "pointing", "energy", "max_box_acc_v2"),
    *("parts", "decisive_part"),
)
PARTS = "parts"  # the group of the measures of parts, which have one more baseline


@dataclass(frozen=True)
class Column:
    """A method, or a baseline."""

    title: str
    is_baseline: bool


@dataclass(frozen=True)
class Cell:
    """A figure and its 95 % interval, as text.

    Attributes:
        value: "" where there is no figure.
        interval: "" where there is no interval.
        is_better: whether the figure is significantly better than that of every baseline.
    """

    value: str
    interval: str
    is_better: bool = False


@dataclass(frozen=True)
class MeasureRow:
    """A measure, with a cell for every column.

    Attributes:
        title: its name in the papers.
        meaning: half a sentence.
        more_is_better: False if less is better.
        n: the number of images behind it.
        is_tested: whether methods were compared by it, image by image.
        is_recommended: as in `judging.measures.Measure`; False in judgements of before that.
        cells: one for each column.
    """

    title: str
    meaning: str
    more_is_better: bool
    n: int
    is_tested: bool
    is_recommended: bool
    cells: list[Cell]


@dataclass(frozen=True)
class Comparison:
    """A measure by which one method is significantly better than another.

    Attributes:
        measure: its title.
        better: the title of the better method.
        worse: the title of the other method.
        difference: by how much, as a positive figure.
        n: the number of images behind it.
    """

    measure: str
    better: str
    worse: str
    difference: Cell
    n: int


@dataclass(frozen=True)
class LookalikePair:
    """What separates a class from one of its look-alikes.

    Attributes:
        label: the class; "" for all pairs together.
        against: the look-alike; "" for all pairs together.
        n: the number of images behind it.
        margin: logit of the class − logit of the look-alike, as text.
        drops: for each column, how far the margin falls without the most salient pixels.
        agreements: for each column, the rank correlation of the map with how far the drawings of
            the two classes differ.
    """

    label: str
    against: str
    n: int
    margin: str
    drops: list[Cell]
    agreements: list[Cell]


@dataclass(frozen=True)
class ImportantPart:
    """One of the most important parts of a class.

    Attributes:
        label: the class.
        part: its name.
        drop: its importance: how far the logit falls without it.
        n: the number of images behind it.
        shares: for each column, the share of the map's mass on parts that lies on it, as text.
    """

    label: str
    part: str
    drop: Cell
    n: int
    shares: list[str]


@dataclass(frozen=True)
class Condition:
    """A change of background or object, and the share of images that are predicted in some way.

    Attributes:
        name: of the condition, which also says what is predicted.
        share: over all classes.
        more_is_better: False if less is better.
        n: the number of images behind it.
        worst: the classes with the worst shares, as text.
    """

    name: str
    share: Cell
    more_is_better: bool
    n: int
    worst: str


@dataclass(frozen=True)
class RandomisedMethod:
    """A method whose maps were compared with those of randomised networks.

    Attributes:
        title: of the method.
        correlations: the rank correlation with its maps of the trained network, as text, for each
            of `Trust.blocks`.
        is_unchanged: whether its maps do not depend on what the network has learnt.
    """

    title: str
    correlations: list[str]
    is_unchanged: bool


@dataclass(frozen=True)
class Trust:
    """The tables of the section "Can the maps be trusted?".

    Attributes:
        columns: the methods, then the baselines.
        rows: the measures but those of parts.
        comparisons: the pairs of methods that differ significantly.
        part_columns: the columns, and then the baseline that only parts have.
        part_rows: the measures of parts.
        important_parts: the most important parts of each class.
        pairs: the pairs of look-alikes, all pairs together first.
        has_agreements: whether a pair has agreements, which only drawings have.
        conditions: of background and object.
        blocks: the steps of the randomisation, and the training on shuffled labels.
        randomised: the methods that were compared with randomised networks.
        n_randomised: the number of images behind that, at most.
        was_judged: whether any image has a row in the scores.
    """

    columns: list[Column]
    rows: list[MeasureRow]
    comparisons: list[Comparison]
    part_columns: list[Column]
    part_rows: list[MeasureRow]
    important_parts: list[ImportantPart]
    pairs: list[LookalikePair]
    has_agreements: bool
    conditions: list[Condition]
    blocks: list[str]
    randomised: list[RandomisedMethod]
    n_randomised: int
    was_judged: bool

    @property
    def recommended_rows(self) -> list[MeasureRow]:
        """The recommended measures."""
        return [row for row in [*self.rows, *self.part_rows] if row.is_recommended]

    @property
    def unchanged(self) -> list[str]:
        """The titles of the methods whose maps do not depend on what the network has learnt."""
        return [row.title for row in self.randomised if row.is_unchanged]


def build_trust(judgement: Judgement) -> Trust:
    """Collect the tables of the page."""
    about = judgement.about
    methods = list(about["methods"])
    columns = [
        Column(title, method in about["baselines"]) for method, title in about["methods"].items()
    ]
    part_baselines = [Column(title, is_baseline=True) for title in about["part_baselines"].values()]
    pairs = _lookalike_pairs(judgement.lookalikes, methods)
    steps = judgement.randomisation
    steps_by_method = [] if steps is None else list(steps.groupby("method", sort=False))
    return Trust(
        columns=columns,
        rows=_measure_rows(judgement, of_parts=False),
        comparisons=_comparisons(judgement),
        part_columns=[*columns, *part_baselines],
        part_rows=_measure_rows(judgement, of_parts=True),
        important_parts=_important_parts(judgement.importance, methods),
        pairs=pairs,
        has_agreements=any(cell.value for pair in pairs for cell in pair.agreements),
        conditions=_conditions(judgement.background, about["conditions"]),
        blocks=[] if steps is None else list(steps["block"].unique()),
        randomised=[
            RandomisedMethod(
                title=about["methods"][str(method)],
                correlations=[_two_digits(value) for value in rows["rank_correlation"]],
                is_unchanged=bool(rows["unchanged"].any()),
            )
            for method, rows in steps_by_method
        ],
        n_randomised=0 if steps is None or steps.empty else int(steps["n"].max()),
        was_judged=not judgement.scores.empty,
    )


def headline_measures(judgement: Judgement) -> dict[str, float]:
    """Return the measures of the first method that `metrics.json` has, as `map_<measure>`."""
    first = next(iter(judgement.about["methods"]))
    table = judgement.measures
    if table.empty or first in judgement.about["baselines"]:
        return {}
    of_first = table[(table["label"] == "") & (table["method"] == first)]
    values = of_first.set_index("measure")["value"]
    return {f"map_{name}": float(values[name]) for name in IN_METRICS if pd.notna(values.get(name))}


def _measure_rows(judgement: Judgement, *, of_parts: bool) -> list[MeasureRow]:
    """Return the measures of parts, or all others; the recommended ones come first."""
    table = judgement.measures[judgement.measures["label"] == ""]
    about = judgement.about
    part_baselines = list(about["part_baselines"]) if of_parts else []
    methods = [*about["methods"], *part_baselines]
    baselines = [*about["baselines"], *part_baselines]
    measure_rows = []
    for name, entry in about["measures"].items():
        by_method = table[table["measure"] == name].set_index("method")
        if by_method.empty or (entry["group"] == PARTS) != of_parts:
            continue
        n = int(by_method["n"].max())
        tests = judgement.tests[judgement.tests["measure"] == name]
        cells = []
        for method in methods:
            if method not in by_method.index:  # the areas alone, once the areas are taken out
                cells.append(Cell("", ""))
                continue
            against = tests[(tests["method"] == method) & tests["other"].isin(baselines)]
            better = (against["difference"] > 0) & (against["p_holm"] < SIGNIFICANCE_LEVEL)
            is_better = len(better) > 0 and bool(better.all())
            cells.append(_cell(by_method.loc[method], is_better=is_better, row_n=n))
        measure_rows.append(
            MeasureRow(
                title=entry["title"],
                meaning=entry["meaning"],
                more_is_better=entry["better"] > 0,
                n=n,
                is_tested=not tests.empty,
                is_recommended=entry.get("is_recommended", False),
                cells=cells,
            )
        )
    return sorted(measure_rows, key=lambda row: not row.is_recommended)


def _comparisons(judgement: Judgement) -> list[Comparison]:
    about, tests = judgement.about, judgement.tests
    if tests.empty:
        return []
    between_methods = ~tests["other"].isin([*about["baselines"], *about["part_baselines"]])
    comparisons = []
    for _, row in tests[between_methods & (tests["p_holm"] < SIGNIFICANCE_LEVEL)].iterrows():
        pair = [about["methods"][row["method"]], about["methods"][row["other"]]]
        sign = 1 if row["difference"] > 0 else -1
        low, high = sorted(sign * row[["low", "high"]].to_numpy(float))
        difference = pd.Series(
            {"value": abs(row["difference"]), "low": low, "high": high, "n": row["n"]}
        )
        better, worse = pair[::sign]
        title = about["measures"][row["measure"]]["title"]
        comparisons.append(Comparison(title, better, worse, _cell(difference), int(row["n"])))
    return comparisons


def _important_parts(table: pd.DataFrame | None, methods: list[str]) -> list[ImportantPart]:
    if table is None:
        return []
    return [
        ImportantPart(
            label=row["label"],
            part=row["part"],
            drop=_cell(row.rename({"drop": "value"})),
            n=int(row["n"]),
            shares=["–" if np.isnan(row[name]) else f"{100 * row[name]:.0f} %" for name in methods],
        )
        for _, parts in table.groupby("label", sort=False)
        for _, row in parts.head(PARTS_PER_CLASS).iterrows()
    ]


def _lookalike_pairs(table: pd.DataFrame | None, methods: list[str]) -> list[LookalikePair]:
    if table is None or table.empty:
        return []
    pairs = []
    for (label, against), rows in table.groupby(["label", "against"], sort=False):
        figures = rows.set_index(["measure", "method"])
        margin = figures.loc[("margin", methods[0])]
        pairs.append(
            LookalikePair(
                label=str(label),
                against=str(against),
                n=int(margin["n"]),
                margin=_two_digits(margin["value"]),
                drops=[_cell(figures.loc[("drop", method)]) for method in methods],
                agreements=[_cell(figures.loc[("differing", method)]) for method in methods],
            )
        )
    return pairs


def _conditions(table: pd.DataFrame | None, better: Mapping[str, int]) -> list[Condition]:
    if table is None or table.empty:
        return []
    class_rows = table[table["label"] != ""]
    conditions = []
    for _, row in table[table["label"] == ""].iterrows():
        name, more_is_better = row["condition"], better[row["condition"]] > 0
        classes = class_rows[class_rows["condition"] == name]
        faulty = classes[classes["value"] < 1] if more_is_better else classes[classes["value"] > 0]
        worst = faulty.sort_values("value", kind="stable", ascending=more_is_better)
        worst = worst.head(WORST_CLASSES)
        texts = [
            f"{label} {_two_digits(v)}" for label, v in zip(worst.label, worst.value, strict=True)
        ]
        conditions.append(
            Condition(name, _cell(row), more_is_better, int(row["n"]), ", ".join(texts))
        )
    return conditions


def _cell(figure: pd.Series, *, is_better: bool = False, row_n: int = 0) -> Cell:
    """Return a cell; its number of images is added where it is less than that of its row."""
    if np.isnan(figure["value"]):
        return Cell("", "")
    has_interval = not np.isnan(figure["low"])
    low, high = _two_digits(figure["low"]), _two_digits(figure["high"])
    interval = f"{low} to {high}" if has_interval else ""
    if figure["n"] < row_n:
        interval = f"{interval}, n = {figure['n']:.0f}".removeprefix(", ")
    return Cell(_two_digits(figure["value"]), interval, is_better)


def _two_digits(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
