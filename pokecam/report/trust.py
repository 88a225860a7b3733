"""What the judgement of the maps says, as tables of the page."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pokecam.report.inputs import Judgement

CERTAIN = 0.05  # of p-values corrected for their number
WORST = 3  # classes named
DECIDING = 3  # parts named of each class


@dataclass(frozen=True)
class Column:
    """A method, or a baseline."""

    title: str
    is_baseline: bool


@dataclass(frozen=True)
class Cell:
    """A figure and its 95 % interval, as text; "" where there is none. beats: whether it is better
    than every baseline's, for certain."""

    value: str
    interval: str
    beats: bool = False


@dataclass(frozen=True)
class MeasureRow:
    """A measure, with a cell for every column: its title, in half a sentence what it is, whether
    more is better, of how many images it was taken, and whether methods were compared by it,
    image by image."""

    title: str
    meaning: str
    more_is_better: bool
    n: int
    compared: bool
    cells: list[Cell]


@dataclass(frozen=True)
class Contest:
    """A measure by which one method is better than another, for certain; by how much, with its
    interval, and over how many images."""

    measure: str
    better: str
    worse: str
    difference: Cell
    n: int


@dataclass(frozen=True)
class Pair:
    """What separates a class from one that it is like, for every column: how far the margin falls
    without the most salient pixels, and whether the map lies where the drawings differ. margin: as
    text, in logits. label, against: "" for all pairs together."""

    label: str
    against: str
    n: int
    margin: str
    drops: list[Cell]
    differing: list[Cell]


@dataclass(frozen=True)
class Deciding:
    """The parts that are worth most to the network for a class: what the logit falls by without
    them, the images behind that, and the share of each method's map, as text."""

    label: str
    part: str
    drop: Cell
    n: int
    shares: list[str]


@dataclass(frozen=True)
class Condition:
    """How many images are named right, or after their background, under one condition, over all
    classes, whether more is better, and the classes that do worst, as text."""

    name: str
    share: Cell
    more_is_better: bool
    n: int
    worst: str


@dataclass(frozen=True)
class Randomised:
    """A method and the rank correlation of its maps, as text, after every step of the
    randomisation, and after training on shuffled labels; unchanged: whether it does not depend on
    what is learnt."""

    title: str
    correlations: list[str]
    unchanged: bool


@dataclass(frozen=True)
class Trust:
    """The judgement: a table of measures, one of methods that differ, one of the parts that decide,
    one of look-alikes (drawings_known: whether it is known where they differ), one of conditions of
    background and object, and one of the randomisation with its steps, `blocks`."""

    columns: list[Column]
    rows: list[MeasureRow]
    contests: list[Contest]
    deciding: list[Deciding]
    pairs: list[Pair]
    drawings_known: bool
    conditions: list[Condition]
    blocks: list[str]
    randomised: list[Randomised]
    n_randomised: int

    @property
    def unchanged(self) -> list[str]:
        return [row.title for row in self.randomised if row.unchanged]


def build_trust(judgement: Judgement) -> Trust:
    """Collect what the page shows."""
    about = judgement.about
    pairs = _pairs(judgement.lookalikes, list(about["methods"]))
    steps = judgement.randomisation
    randomised = [] if steps is None else list(steps.groupby("method", sort=False))
    return Trust(
        columns=[
            Column(title, method in about["baselines"])
            for method, title in about["methods"].items()
        ],
        rows=_rows(judgement),
        contests=_contests(judgement),
        deciding=_deciding(judgement.importance, list(about["methods"])),
        pairs=pairs,
        drawings_known=any(cell.value for pair in pairs for cell in pair.differing),
        conditions=_conditions(judgement.background, about["conditions"]),
        blocks=[] if steps is None else list(steps["block"].unique()),
        randomised=[
            Randomised(
                title=about["methods"][str(method)],
                correlations=[_two_digits(value) for value in some["rank_correlation"]],
                unchanged=bool(some["unchanged"].any()),
            )
            for method, some in randomised
        ],
        n_randomised=0 if steps is None else int(steps["n"].max()),
    )


def _rows(judgement: Judgement) -> list[MeasureRow]:
    table = judgement.measures[judgement.measures["label"] == ""]
    baselines = judgement.about["baselines"]
    rows = []
    for name, entry in judgement.about["measures"].items():
        found = table[table["measure"] == name].set_index("method")
        if found.empty:
            continue
        tests = judgement.tests[judgement.tests["measure"] == name]
        cells = []
        for method in judgement.about["methods"]:
            against = tests[(tests["method"] == method) & tests["other"].isin(baselines)]
            better = (against["difference"] > 0) & (against["p_holm"] < CERTAIN)
            beats = len(better) > 0 and bool(better.all())
            cells.append(_cell(found.loc[method], beats=beats, most=int(found["n"].max())))
        rows.append(
            MeasureRow(
                title=entry["title"],
                meaning=entry["meaning"],
                more_is_better=entry["better"] > 0,
                n=int(found["n"].max()),
                compared=not tests.empty,
                cells=cells,
            )
        )
    return rows


def _contests(judgement: Judgement) -> list[Contest]:
    about, tests = judgement.about, judgement.tests
    if tests.empty:
        return []
    between = tests[~tests["other"].isin(about["baselines"]) & (tests["p_holm"] < CERTAIN)]
    found = []
    for _, row in between.iterrows():
        pair = [about["methods"][row["method"]], about["methods"][row["other"]]]
        sign = 1 if row["difference"] > 0 else -1
        ends = sorted(sign * row[["low", "high"]].to_numpy(float))
        difference = pd.Series(
            {"value": abs(row["difference"]), "low": ends[0], "high": ends[1], "n": row["n"]}
        )
        better, worse = pair[::sign]
        title = about["measures"][row["measure"]]["title"]
        found.append(Contest(title, better, worse, _cell(difference), int(row["n"])))
    return found


def _deciding(table: pd.DataFrame | None, methods: list[str]) -> list[Deciding]:
    if table is None:
        return []
    return [
        Deciding(
            label=row["label"],
            part=row["part"],
            drop=_cell(row.rename({"drop": "value"})),
            n=int(row["n"]),
            shares=["–" if np.isnan(row[name]) else f"{100 * row[name]:.0f} %" for name in methods],
        )
        for _, some in table.groupby("label", sort=False)
        for _, row in some.head(DECIDING).iterrows()
    ]


def _pairs(table: pd.DataFrame | None, methods: list[str]) -> list[Pair]:
    if table is None or table.empty:
        return []
    pairs = []
    for (label, against), some in table.groupby(["label", "against"], sort=False):
        found = some.set_index(["measure", "method"])
        margin = found.loc[("margin", methods[0])]
        pairs.append(
            Pair(
                label=str(label),
                against=str(against),
                n=int(margin["n"]),
                margin=_two_digits(margin["value"]),
                drops=[_cell(found.loc[("drop", method)]) for method in methods],
                differing=[_cell(found.loc[("differing", method)]) for method in methods],
            )
        )
    return pairs


def _conditions(table: pd.DataFrame | None, better: Mapping[str, int]) -> list[Condition]:
    if table is None or table.empty:
        return []
    of_classes = table[table["label"] != ""]
    conditions = []
    for _, row in table[table["label"] == ""].iterrows():
        more = better[row["condition"]] > 0
        here = of_classes[of_classes["condition"] == row["condition"]]
        faulty = here[here["value"] < 1] if more else here[here["value"] > 0]
        worst = faulty.sort_values("value", kind="stable", ascending=more).head(WORST)
        told = [
            f"{name} {_two_digits(v)}" for name, v in zip(worst.label, worst.value, strict=True)
        ]
        shown = Condition(row["condition"], _cell(row), more, int(row["n"]), ", ".join(told))
        conditions.append(shown)
    return conditions


def headlines(judgement: Judgement) -> dict[str, float]:
    """The figures of the first method, for `metrics.json`: `map_<measure>`."""
    first = next(iter(judgement.about["methods"]))
    table = judgement.measures
    if table.empty or first in judgement.about["baselines"]:
        return {}
    of_first = table[(table["label"] == "") & (table["method"] == first)]
    wanted = ("deletion", "insertion", "road", "pointing", "energy", "max_box_acc_v2", "parts")
    values = of_first.set_index("measure")["value"]
    return {f"map_{name}": float(values[name]) for name in wanted if pd.notna(values.get(name))}


def _cell(found: pd.Series, *, beats: bool = False, most: int = 0) -> Cell:
    """most: images that other cells of the row have; told where this one has fewer."""
    if np.isnan(found["value"]):
        return Cell("", "")
    known = not np.isnan(found["low"])
    ends = f"{_two_digits(found['low'])} to {_two_digits(found['high'])}" if known else ""
    if found["n"] < most:
        ends = f"{ends}, n = {found['n']:.0f}".removeprefix(", ")
    return Cell(_two_digits(found["value"]), ends, beats)


def _two_digits(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
