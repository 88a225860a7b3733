"""What the judgement of the maps says, as tables of the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

CERTAIN = 0.05  # of p-values corrected for their number


@dataclass(frozen=True)
class Column:
    """A measure: its title, in half a sentence what it is, whether more is better, and of how many
    pictures it was taken."""

    title: str
    meaning: str
    more_is_better: bool
    n: int


@dataclass(frozen=True)
class Cell:
    """A figure and its 95 % interval, as text; "" where there is none. beats: whether it is better
    than every baseline's, for certain."""

    value: str
    interval: str
    beats: bool


@dataclass(frozen=True)
class Row:
    """A method with a cell for every column."""

    title: str
    is_baseline: bool
    cells: list[Cell]


@dataclass(frozen=True)
class Randomised:
    """A method and the rank correlation of its maps, as text, after every step of the
    randomisation; unchanged: whether it does not depend on the network."""

    title: str
    correlations: list[str]
    unchanged: bool


@dataclass(frozen=True)
class Trust:
    """The judgement: a table of measures, and one of the randomisation with its steps, `blocks`."""

    columns: list[Column]
    rows: list[Row]
    blocks: list[str]
    randomised: list[Randomised]
    n_randomised: int

    @property
    def unchanged(self) -> list[str]:
        return [row.title for row in self.randomised if row.unchanged]


@dataclass(frozen=True)
class Judgement:
    """What the judge stage wrote.

    measures: measure, method, label, value, low, high, n. tests: measure, method, baseline,
        difference, …, p_holm. randomisation: method, block, rank_correlation, …, unchanged; None
        where it was not asked. about: measure and method → what they are.
    """

    measures: pd.DataFrame
    tests: pd.DataFrame
    randomisation: pd.DataFrame | None
    about: Mapping[str, Any]


def build(judgement: Judgement) -> Trust:
    """Collect what the page shows."""
    table, about = judgement.measures, judgement.about
    whole = table[table["label"] == ""] if len(table) else table
    names = [name for name in about["measures"] if len(whole) and (whole["measure"] == name).any()]
    rows = [
        Row(
            title=title,
            is_baseline=method in about["baselines"],
            cells=[_cell(whole, judgement.tests, name, method) for name in names],
        )
        for method, title in about["methods"].items()
    ]
    columns = [
        Column(
            title=about["measures"][name]["title"],
            meaning=about["measures"][name]["meaning"],
            more_is_better=about["measures"][name]["better"] > 0,
            n=int(whole.loc[whole["measure"] == name, "n"].max()),
        )
        for name in names
    ]
    steps = judgement.randomisation
    if steps is None or steps.empty:
        return Trust(columns, rows, [], [], 0)
    randomised = [
        Randomised(
            title=about["methods"][str(method)],
            correlations=[_two_digits(value) for value in some["rank_correlation"]],
            unchanged=bool(some["unchanged"].iloc[0]),
        )
        for method, some in steps.groupby("method", sort=False)
    ]
    blocks = list(steps["block"].unique())
    return Trust(columns, rows, blocks, randomised, int(steps["n"].max()))


def headlines(judgement: Judgement) -> dict[str, float]:
    """The figures of the first method, for `metrics.json`: `map_<measure>`."""
    first = next(iter(judgement.about["methods"]))
    table = judgement.measures
    if table.empty:
        return {}
    of_first = table[(table["label"] == "") & (table["method"] == first)]
    wanted = ("deletion", "insertion", "road", "pointing", "energy", "max_box_acc_v2", "parts")
    values = of_first.set_index("measure")["value"]
    return {f"map_{name}": float(values[name]) for name in wanted if pd.notna(values.get(name))}


def _cell(table: pd.DataFrame, tests: pd.DataFrame, measure: str, method: str) -> Cell:
    found = table[(table["measure"] == measure) & (table["method"] == method)].iloc[0]
    if np.isnan(found["value"]):
        return Cell("", "", beats=False)
    paired = (
        tests[(tests["measure"] == measure) & (tests["method"] == method)] if len(tests) else tests
    )
    better = len(paired) > 0 and bool(
        ((paired["difference"] > 0) & (paired["p_holm"] < CERTAIN)).all()
    )
    ends = "" if np.isnan(found["low"]) else f"{found['low']:.2f} – {found['high']:.2f}"
    return Cell(_two_digits(found["value"]), ends, beats=better)


def _two_digits(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
