"""The measures of several experiments on the same images, and how they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pokecam.commands.compare.experiments import Experiment
from pokecam.common.errors import InputError
from pokecam.judging.significance import Interval, holm, interval, p_paired
from pokecam.report.inputs import label_probabilities
from pokecam.report.page import as_text
from pokecam.report.trust import SIGNIFICANCE_LEVEL

# The measures of predictions; the judge stage has those of maps.
ACCURACY = {"title": "Accuracy", "better": 1}
TRUE_PROBABILITY = {"title": "Probability of the true class", "better": 1}

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """The mean of one experiment over the images that all experiments share.

    Attributes:
        value: the mean.
        difference: from the first experiment on the same images, with a bootstrap interval; None
            for the first experiment.
        p: of a signed-rank test, after Holm's correction over the whole table.
    """

    value: float
    difference: Interval | None = None
    p: float = 1.0

    @property
    def is_significant(self) -> bool:
        """Whether it differs significantly from that of the first experiment."""
        return self.difference is not None and self.p < SIGNIFICANCE_LEVEL


@dataclass(frozen=True)
class ComparisonRow:
    """A measure, with a figure for every experiment.

    Attributes:
        title: its name.
        more_is_better: False if less is better.
        n: the number of images that every experiment was measured on.
        figures: one for each experiment.
    """

    title: str
    more_is_better: bool
    n: int
    figures: list[Figure]


def common_files(experiments: Sequence[Experiment]) -> list[str]:
    """Return the files of the test images of all experiments, in the order of the first."""
    common = set.intersection(*(set(experiment.predictions["file"]) for experiment in experiments))
    return [file for file in experiments[0].predictions["file"] if file in common]


def check_common_files(experiments: Sequence[Experiment], files: Sequence[str]) -> None:
    """Check that the experiments have common test images.

    Raises:
        InputError: `files` is empty.
    """
    if not files:
        names = ", ".join(experiment.name for experiment in experiments)
        raise InputError(
            f"{names} share no test image: compare experiments with the same split_seed, or "
            "several trainings of each: docs/report.md"
        )


def comparison_rows(experiments: Sequence[Experiment], files: Sequence[str]) -> list[ComparisonRow]:
    """Compute a row for every measure that all experiments have.

    Args:
        experiments: the first is the one that the others are compared with.
        files: the test images to compare on.
    """
    measures = [
        (ACCURACY, _correctness(experiments, files)),
        (TRUE_PROBABILITY, _true_probabilities(experiments, files)),
    ]
    for name, entry in experiments[0].entries.items():
        if all(is_same_measure(experiment.entries.get(name), entry) for experiment in experiments):
            measures.append((entry, _scores(experiments, files, name)))
    rows: list[tuple[dict, Numbers]] = []
    for entry, values in measures:
        complete_rows = values[~np.isnan(values).any(axis=1)]
        if len(complete_rows):
            rows.append((entry, complete_rows))
    differences = [
        values[:, column] - values[:, 0] for _, values in rows for column in _after_first(values)
    ]
    p_values = iter(holm(np.array([p_paired(difference) for difference in differences])))
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
                        float(next(p_values)),
                    )
                    for column in _after_first(values)
                ),
            ],
        )
        for entry, values in rows
    ]


def is_same_measure(entry: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    """Whether two entries of one name are the same measure.

    Another version of PokeCAM may have measured something else by that name.
    """
    return entry is not None and all(entry[key] == other[key] for key in ("title", "better"))


def differing_parameters(experiments: Sequence[Experiment]) -> dict[str, list[str]]:
    """Return the parameters that are not the same in all experiments: name → values as text."""
    names = dict.fromkeys(name for experiment in experiments for name in experiment.params)
    parameters = {
        name: [experiment.params.get(name, "–") for experiment in experiments] for name in names
    }
    return {
        name: [as_text(value) if isinstance(value, list) else str(value) for value in values]
        for name, values in parameters.items()
        if len(set(map(str, values))) > 1
    }


def _after_first(values: Numbers) -> range:
    """Return the columns that are compared with the first."""
    return range(1, values.shape[1])


def _predictions(experiment: Experiment, files: Sequence[str]) -> pd.DataFrame:
    return experiment.predictions.set_index("file").loc[list(files)]


def _correctness(experiments: Sequence[Experiment], files: Sequence[str]) -> Numbers:
    """Return 1 where an image is correctly classified, else 0: (images, experiments)."""
    tables = [_predictions(experiment, files) for experiment in experiments]
    return np.stack(
        [(table["label"] == table["predicted"]).to_numpy(float) for table in tables], axis=1
    )


def _true_probabilities(experiments: Sequence[Experiment], files: Sequence[str]) -> Numbers:
    """Return the probability of the true class: (images, experiments)."""
    tables = [_predictions(experiment, files) for experiment in experiments]
    return np.stack([label_probabilities(table) for table in tables], axis=1)


def _scores(experiments: Sequence[Experiment], files: Sequence[str], measure: str) -> Numbers:
    """Return the scores of a measure, NaN where there is none: (images, experiments)."""
    scores = [
        experiment.scores[measure].reindex(list(files)).to_numpy(float)
        for experiment in experiments
    ]
    return np.stack(scores, axis=1)
