"""Everything the report tells, as the earlier stages left it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pokecam.cam.stored_maps import StoredMaps
from pokecam.common import params
from pokecam.data.packed import csv_tables, images, splits

# Columns of the judgement's tables that hold no numbers.
_NAMES = frozenset(
    (
        *("file", "measure", "method", "other", "label", "against", "part"),
        *("condition", "block", "unchanged"),
    )
)


@dataclass(frozen=True)
class Judgement:
    """What the judge stage wrote.

    measures: measure, method, label, value, low, high, n. tests: measure, method, other,
        difference, low, high, n, p, p_holm. scores: file, label, method, and what each image
        came to in each measure. about: measure and method → what they are.
    parts: file, label, part, area_px, drop, methods. importance: label, part, drop, low, high, n,
        methods. lookalikes: measure, label, against, method, value, low, high, n. background:
        label, condition, value, low, high, n. randomisation: method, block, rank_correlation, …,
        unchanged. None where it was not asked.
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
    """Tables and maps of one run. Rows of `predictions` and `maps` go together: the test set."""

    packed: images.Packed
    quarantine: pd.DataFrame  # file, label, reason
    duplicates: pd.DataFrame  # file, label, group
    subset_sizes: dict[str, int]  # train, val, test → number of images
    history: pd.DataFrame  # epoch, train_loss, …
    predictions: pd.DataFrame  # file, label, predicted, probability, p:<class> …
    per_class: pd.DataFrame  # label, precision, recall, f1, support
    confusion: pd.DataFrame  # label, predicted, count
    lookalikes: pd.DataFrame  # group, n, accuracy, confused_within
    metrics: dict[str, float | None]
    maps: dict[str, StoredMaps]  # by method
    titles: dict[str, str]  # method → what the papers call it
    layer: str
    judgement: Judgement
    params: dict[str, Any]

    @property
    def first_maps(self) -> StoredMaps:
        """Those of the first method."""
        return next(iter(self.maps.values()))

    @property
    def test_rows(self) -> np.ndarray:
        """Where the test images are among the packed ones."""
        row_of = pd.Series(range(len(self.packed.manifest)), index=self.packed.manifest["file"])
        return row_of[self.predictions["file"]].to_numpy()


def read_inputs(
    *,
    images_folder: Path,
    split: Path,
    history: Path,
    evaluation: Path,
    cams: Path,
    judgement: Path,
    settings: Path,
) -> Inputs:
    """Read what the stages before wrote. Images and maps stay on disk until they are used."""
    maps_made = json.loads((cams / "meta.json").read_text(encoding="utf-8"))
    packed = images.load_packed(images_folder)
    return Inputs(
        packed=packed,
        quarantine=csv_tables.read_table(images_folder / "quarantine.csv"),
        duplicates=csv_tables.read_table(images_folder / "duplicates.csv"),
        subset_sizes=splits.read_split(split, packed.manifest)["subset"].value_counts().to_dict(),
        history=pd.read_csv(history),
        predictions=csv_tables.read_table(evaluation / "predictions.csv"),
        per_class=csv_tables.read_table(evaluation / "per_class.csv"),
        confusion=csv_tables.read_table(evaluation / "confusion.csv"),
        lookalikes=csv_tables.read_table(evaluation / "lookalikes.csv"),
        metrics=json.loads((evaluation / "metrics.json").read_text(encoding="utf-8")),
        maps={method: StoredMaps.open(cams, method) for method in maps_made["methods"]},
        titles=maps_made["methods"],
        layer=maps_made["layer"],
        judgement=_judgement(judgement),
        params=params.read_all_params(settings),
    )


def own_probabilities(predictions: pd.DataFrame) -> np.ndarray:
    """The probability of each image's own class, (N,). predictions: as of `Inputs`."""
    own = [row[f"p:{row['label']}"] for row in predictions.to_dict("records")]
    return np.array(own, dtype=float)


def _judgement(folder: Path) -> Judgement:
    return Judgement(
        measures=_measured(folder / "measures.csv"),
        tests=_measured(folder / "tests.csv"),
        scores=_measured(folder / "scores.csv"),
        parts=_if_asked(folder / "parts.csv"),
        importance=_if_asked(folder / "importance.csv"),
        lookalikes=_if_asked(folder / "lookalikes.csv"),
        background=_if_asked(folder / "background.csv"),
        randomisation=_if_asked(folder / "sanity.csv"),
        about=json.loads((folder / "about.json").read_text(encoding="utf-8")),
    )


def _if_asked(path: Path) -> pd.DataFrame | None:
    return _measured(path) if path.exists() else None


def _measured(path: Path) -> pd.DataFrame:
    """A table of numbers, some of them unknown, beside names, which are text."""
    table = csv_tables.read_table(path)
    numbers = [name for name in table if name not in _NAMES]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    return table
