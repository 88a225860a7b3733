"""The content of the report's page, as dataclasses that are computed from the inputs.

Texts are plain; the template escapes them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any

import pandas as pd

from pokecam.cam.display import is_constant
from pokecam.cam.stored_maps import StoredMaps
from pokecam.report import headlines, lookalikes, trust
from pokecam.report.headlines import Headline
from pokecam.report.inputs import Inputs
from pokecam.report.trust import Trust


@dataclass(frozen=True)
class ClassResult:
    """One class and its scores."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Lookalike:
    """How well the classes of a group of look-alikes are separated."""

    group: str
    n: int
    accuracy: float
    confused_within: int


@dataclass(frozen=True)
class QuarantinedImage:
    """A file that was not used."""

    file: str
    label: str
    reason: str


@dataclass(frozen=True)
class Page:
    """The content of the page."""

    title: str
    summary: str
    headlines: list[Headline]
    classes: list[ClassResult]
    confusion: list[list[int]]  # [true][predicted]
    lookalikes: list[Lookalike]
    subset_sizes: dict[str, int]
    small_classes: list[str]
    n_duplicates: int
    n_duplicate_groups: int
    quarantine: list[QuarantinedImage]
    methods: list[str]
    layer: str
    map_size: tuple[int, int]
    image_size: int
    n_maps: int
    n_empty_maps: int
    trust: Trust
    parameters: dict[str, str]


def build_page(inputs: Inputs) -> Page:
    """Collect the content of the page."""
    classes = inputs.packed.classes
    tables = trust.build_trust(inputs.judgement)
    parameters = {key: as_text(value) for key, value in inputs.params.items()}
    counts = inputs.confusion.pivot(index="label", columns="predicted", values="count")
    return Page(
        title=f"{len(classes)} classes, {parameters['backbone']}",
        summary=_summary(inputs, parameters),
        headlines=headlines.build_headlines(inputs, tables),
        classes=_class_results(inputs),
        confusion=counts.loc[classes, classes].to_numpy().tolist(),
        lookalikes=[
            Lookalike(**row)
            for row in lookalikes.inside_groups(inputs.predictions, inputs.lookalikes).to_dict(
                "records"
            )
        ],
        subset_sizes=inputs.subset_sizes,
        small_classes=inputs.small_classes,
        n_duplicates=len(inputs.duplicates),
        n_duplicate_groups=inputs.duplicates["group"].nunique(),
        quarantine=[
            QuarantinedImage(**row) for row in _records(inputs.quarantine, QuarantinedImage)
        ],
        methods=list(inputs.titles.values()),
        layer=inputs.layer,
        map_size=inputs.first_maps.size,
        image_size=inputs.packed.pixels.shape[1],
        n_maps=len(inputs.predictions) * len(inputs.packed.classes) * len(inputs.maps),
        n_empty_maps=count_empty(inputs.maps.values(), len(inputs.packed.classes)),
        trust=tables,
        parameters=parameters,
    )


def metrics(inputs: Inputs) -> dict[str, float | str]:
    """Return what `dvc metrics` and `dvc exp show` list: numbers, without undefined ones, and the
    pretrained weights, because `weights: auto` does not say which they were."""
    numbers = inputs.metrics | {
        "lookalike_accuracy": lookalikes.accuracy(inputs.predictions, inputs.lookalikes),
        "val_accuracy": inputs.history["val_accuracy"].iloc[-1],
        "n_train": inputs.subset_sizes["train"],
        "n_val": inputs.subset_sizes["val"],
        "quarantined": len(inputs.quarantine),
        "near_duplicates": len(inputs.duplicates),
    }
    numbers |= trust.headline_measures(inputs.judgement)
    rounded = {key: _six_digits(value) for key, value in numbers.items() if value is not None}
    return {"weights": inputs.weights} | rounded


def count_empty(maps: Iterable[StoredMaps], n_classes: int) -> int:
    """Return the number of empty maps, which are displayed as zero.

    Args:
        maps: of each method.
        n_classes: how often a map that is shared by all classes counts.
    """
    return sum(
        # One image after another: maps may be large and on disk.
        sum(int(is_constant(image_maps).sum()) for image_maps in stored.values)
        * (n_classes if stored.shared else 1)
        for stored in maps
    )


# The values of `weights` in a sentence; a file stands there by its name.
_WEIGHTS = {
    "drawn": "weights that were pretrained on drawings",
    "imagenet": "weights that were pretrained on ImageNet",
    "none": "random weights",
}


def _summary(inputs: Inputs, parameters: dict[str, str]) -> str:
    heads = {"gap": "average pooling and one linear layer", "native": "its own head"}
    n = sum(inputs.subset_sizes.values())
    return (
        f"{parameters['backbone']} with {heads.get(parameters['head'], parameters['head'])}, "
        f"starting from {_WEIGHTS.get(inputs.weights, inputs.weights)}, fine-tuned on "
        f"{inputs.subset_sizes['train']} of {n} images ({parameters['source']})"
    )


def _class_results(inputs: Inputs) -> list[ClassResult]:
    scores = inputs.per_class.set_index("label")
    return [
        ClassResult(
            name=name,
            precision=scores.at[name, "precision"],
            recall=scores.at[name, "recall"],
            f1=scores.at[name, "f1"],
            support=int(scores.at[name, "support"]),
        )
        for name in inputs.packed.classes
    ]


def _records(table: pd.DataFrame, row_type: type) -> list[dict[str, Any]]:
    """Return the rows of a table, with the columns that are fields of a dataclass."""
    return table[[field.name for field in fields(row_type)]].to_dict("records")


def as_text(value: Any) -> str:
    """Return a parameter as text; an absolute path without its folders, which are private."""
    if isinstance(value, list):
        return ", ".join(
            " / ".join(map(str, item)) if isinstance(item, list) else str(item) for item in value
        )
    if value is None:
        return "null"
    text = str(value)
    return PurePath(text).name if PurePath(text).is_absolute() else text


def _six_digits(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")
