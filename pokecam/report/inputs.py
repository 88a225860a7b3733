"""The inputs of the report, as the earlier stages wrote them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pokecam.cam.stored_maps import StoredMaps
from pokecam.common import params
from pokecam.data.packed import csv_tables, few_images, images, splits

# The columns of text in the tables of the judgement; all other columns are numbers.
_TEXT_COLUMNS = frozenset(
    (
        *("file", "measure", "method", "other", "label", "against", "part"),
        *("condition", "block", "unchanged"),
    )
)


@dataclass(frozen=True)
class Judgement:
    """The tables that the judge stage wrote, with their columns.

    A table is None where its group of measures was not requested.

    Attributes:
        measures: measure, method, label, value, low, high, n.
        tests: measure, method, other, difference, low, high, n, p, p_holm.
        scores: file, label, method, and a column for each measure.
        parts: file, label, part, area_px, drop, and a column for each method.
        importance: label, part, drop, low, high, n, and a column for each method.
        lookalikes: measure, label, against, method, value, low, high, n.
        background: label, condition, value, low, high, n.
        randomisation: method, block, rank_correlation, …, unchanged.
        about: as `judging.tables.about` returns it.
    """

    measures: pd.DataFrame
    tests: pd.DataFrame
    scores: pd.DataFrame
    parts: pd.DataFrame | None
    importance: pd.DataFrame | None
    lookalikes: pd.DataFrame | None
    background: pd.DataFrame | None
    randomisation: pd.DataFrame | None
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """The tables and maps of one run.

    Row i of `predictions` and of every entry of `maps` is the same image of the test set.
    """

    packed: images.Packed
    quarantine: pd.DataFrame  # file, label, reason
    duplicates: pd.DataFrame  # file, label, group
    subset_sizes: dict[str, int]  # train, val, test → number of images
    small_classes: list[str]  # lines about classes with too few images
    history: pd.DataFrame  # epoch, train_loss, …
    predictions: pd.DataFrame  # file, label, predicted, probability, p:<class> …
    per_class: pd.DataFrame  # label, precision, recall, f1, support
    confusion: pd.DataFrame  # label, predicted, count
    lookalikes: list[list[str]]  # groups of classes that are easily confused
    metrics: dict[str, float | None]
    weights: str  # the pretrained weights that fine-tuning started from
    maps: dict[str, StoredMaps]  # by method
    titles: dict[str, str]  # method → its name in the papers
    layer: str
    judgement: Judgement
    params: dict[str, Any]

    @property
    def first_maps(self) -> StoredMaps:
        """The maps of the first method."""
        return next(iter(self.maps.values()))

    @property
    def test_rows(self) -> np.ndarray:
        """The rows (N,) of the test images among the packed ones."""
        row_of = pd.Series(range(len(self.packed.manifest)), index=self.packed.manifest["file"])
        return row_of[self.predictions["file"]].to_numpy()


def read_inputs(
    *,
    images_folder: Path,
    split: Path,
    lookalikes: Path,
    history: Path,
    evaluation: Path,
    cams: Path,
    judgement: Path,
    settings: Path,
) -> Inputs:
    """Read what the earlier stages wrote; images and maps stay on disk until they are used.

    Args:
        images_folder: the folder that `select` wrote.
        split: the table that `split` wrote.
        lookalikes: the groups that `split` wrote.
        history: the table of epochs that `train` wrote.
        evaluation: the folder that `evaluate` wrote.
        cams: the folder that `cam` wrote.
        judgement: the folder that `judge` wrote.
        settings: params.yaml.
    """
    meta = json.loads((cams / "meta.json").read_text(encoding="utf-8"))
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    packed = images.load_packed(images_folder)
    split_table = splits.read_split(split, packed.manifest)
    return Inputs(
        packed=packed,
        quarantine=csv_tables.read_table(images_folder / "quarantine.csv"),
        duplicates=csv_tables.read_table(images_folder / "duplicates.csv"),
        subset_sizes=split_table["subset"].value_counts().to_dict(),
        small_classes=few_images.after_split(split_table),
        history=pd.read_csv(history),
        predictions=csv_tables.read_table(evaluation / "predictions.csv"),
        per_class=csv_tables.read_table(evaluation / "per_class.csv"),
        confusion=csv_tables.read_table(evaluation / "confusion.csv"),
        lookalikes=images.read_lookalikes(lookalikes),
        weights=metrics.pop("weights"),
        metrics=metrics,
        maps={method: StoredMaps.open(cams, method) for method in meta["methods"]},
        titles=meta["methods"],
        layer=meta["layer"],
        judgement=read_judgement(judgement),
        params=params.read_all_params(settings),
    )


def label_probabilities(predictions: pd.DataFrame) -> np.ndarray:
    """Return the probability that the network gives to the label of each image.

    Args:
        predictions: N rows, as in `Inputs`.

    Returns:
        (N,) float64.
    """
    probabilities = [row[f"p:{row['label']}"] for row in predictions.to_dict("records")]
    return np.array(probabilities, dtype=float)


def read_judgement(folder: Path) -> Judgement:
    """Read the tables that the judge stage wrote into `folder`."""
    return Judgement(
        measures=_read_numbers(folder / "measures.csv"),
        tests=_read_numbers(folder / "tests.csv"),
        scores=_read_numbers(folder / "scores.csv"),
        parts=_read_optional(folder / "parts.csv"),
        importance=_read_optional(folder / "importance.csv"),
        lookalikes=_read_optional(folder / "lookalikes.csv"),
        background=_read_optional(folder / "background.csv"),
        randomisation=_read_optional(folder / "sanity.csv"),
        about=json.loads((folder / "about.json").read_text(encoding="utf-8")),
    )


def _read_optional(path: Path) -> pd.DataFrame | None:
    return _read_numbers(path) if path.exists() else None


def _read_numbers(path: Path) -> pd.DataFrame:
    """Read a table of numbers and `_TEXT_COLUMNS`; an empty number is NaN."""
    table = csv_tables.read_table(path)
    numbers = [name for name in table if name not in _TEXT_COLUMNS]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    return table
