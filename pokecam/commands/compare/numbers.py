"""How experiments differ, over the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pokecam.commands.compare.experiments import Experiment
from pokecam.common.errors import InputError
from pokecam.judging.significance import Interval, holm, interval, p_paired
from pokecam.report.inputs import own_probabilities
from pokecam.report.page import in_words
from pokecam.report.trust import CERTAIN

# Of predictions; those of maps are what the judge stage measured.
RIGHT = {"title": "Accuracy", "better": 1}
PROBABLE = {"title": "Probability of the true class", "better": 1}


@dataclass(frozen=True)
class Figure:
    """One experiment's mean over the images that all columns share, and how it differs from the
    first experiment's on the same images: a bootstrap interval, and the p-value of a signed-rank
    test after Holm's correction over the whole table. None for the first."""

    value: float
    difference: Interval | None = None
    p: float = 1.0

    @property
    def is_certain(self) -> bool:
        return self.difference is not None and self.p < CERTAIN


@dataclass(frozen=True)
class ComparisonRow:
    """A measure; n: images that every experiment was measured on."""

    title: str
    more_is_better: bool
    n: int
    figures: list[Figure]


def common(experiments: Sequence[Experiment]) -> list[str]:
    """The test images of all experiments, in the order of the first.

    Raises `InputError` if there is none.
    """
    shared = set.intersection(*(set(one.predictions["file"]) for one in experiments))
    files = [file for file in experiments[0].predictions["file"] if file in shared]
    if not files:
        names = ", ".join(one.name for one in experiments)
        raise InputError(f"{names} share no test image: compare experiments of one split_seed")
    return files


def table(experiments: Sequence[Experiment], files: Sequence[str]) -> list[ComparisonRow]:
    """Every measure that all experiments have."""
    found = [(RIGHT, _right(experiments, files)), (PROBABLE, _probable(experiments, files))]
    for measure, entry in experiments[0].entries.items():
        if all(measure in one.entries for one in experiments):
            found.append((entry, _scores(experiments, files, measure)))
    rows: list[tuple[dict, NDArray[np.float64]]] = []
    for entry, values in found:
        known = values[~np.isnan(values).any(axis=1)]
        if len(known):
            rows.append((entry, known))
    tested = [values[:, column] - values[:, 0] for _, values in rows for column in others(values)]
    corrected = iter(holm(np.array([p_paired(differences) for differences in tested])))
    return [
        ComparisonRow(
            title=entry["title"],
            more_is_better=entry["better"] > 0,
            n=len(values),
            figures=[
                Figure(float(values[:, 0].mean())),
                *(
                    Figure(
                        float(values[:, column].mean()),
                        interval(values[:, column] - values[:, 0], seed=0),
                        float(next(corrected)),
                    )
                    for column in others(values)
                ),
            ],
        )
        for entry, values in rows
    ]


def others(values: NDArray[np.float64]) -> range:
    """The columns that are held against the first."""
    return range(1, values.shape[1])


def differing(experiments: Sequence[Experiment]) -> dict[str, list[str]]:
    """The parameters that are not the same in all experiments: name → values as text."""
    names = dict.fromkeys(name for one in experiments for name in one.params)
    values = {name: [one.params.get(name, "–") for one in experiments] for name in names}
    return {
        name: [in_words(value) if isinstance(value, list) else str(value) for value in some]
        for name, some in values.items()
        if len(set(map(str, some))) > 1
    }


def _by_file(one: Experiment, files: Sequence[str]) -> pd.DataFrame:
    return one.predictions.set_index("file").loc[list(files)]


def _right(experiments: Sequence[Experiment], files: Sequence[str]) -> NDArray[np.float64]:
    said = [_by_file(one, files) for one in experiments]
    return np.stack([(some["label"] == some["predicted"]).to_numpy(float) for some in said], axis=1)


def _probable(experiments: Sequence[Experiment], files: Sequence[str]) -> NDArray[np.float64]:
    return np.stack([own_probabilities(_by_file(one, files)) for one in experiments], axis=1)


def _scores(
    experiments: Sequence[Experiment], files: Sequence[str], measure: str
) -> NDArray[np.float64]:
    values = [one.scores[measure].reindex(list(files)).to_numpy(float) for one in experiments]
    return np.stack(values, axis=1)
