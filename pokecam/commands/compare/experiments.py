"""What an experiment left behind, read through DVC: nothing is run or checked out."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc_data.index import DataIndexDirError

from pokecam.cam.stored_maps import StoredMaps
from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import load_yaml
from pokecam.data.packed import csv_tables, images
from pokecam.data.packed.images import Packed

WORKSPACE = "workspace"  # what DVC calls the files that are not committed


@dataclass(frozen=True)
class Experiment:
    """One column: a revision and one of its methods.

    name: as the user gave it. params: of params.yaml.
    predictions: file, label, predicted, probability, p:<class> of N test images.
    maps: (N, C, h, w), or (N, 1, h, w) for all classes, raw. scores: one row for each image that
    was judged, by file; entries: measure → title and better.
    images, packed: what tells the images from others, and the packed ones: hashes.
    """

    name: str
    title: str
    params: dict[str, Any]
    classes: list[str]
    predictions: pd.DataFrame
    maps: StoredMaps
    scores: pd.DataFrame
    entries: dict[str, dict[str, Any]]
    images: str
    packed: str

    @cached_property
    def row_of(self) -> dict[str, int]:
        """file → its row in predictions and maps."""
        return {file: row for row, file in enumerate(self.predictions["file"])}

    def map_of(self, file: str, label: str) -> np.ndarray:
        """The raw map (h, w) of one image for one class."""
        row = self.row_of[file]
        return self.maps.of(row, self.classes.index(label))


def read_experiment(name: str, repository: Path) -> Experiment:
    """Read `REVISION` or `REVISION:METHOD`; without a method, the first that has maps there.

    Raises `InputError` if there is no such revision or method, or what it made is not in the cache.
    """
    revision, _, method = name.partition(":")
    files = _files(revision, repository)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _get(files, revision, folder, "data/evaluation", "data/cams", "data/judgement")
        lock = load_yaml(files.read_text("dvc.lock"))
        made = json.loads((folder / "data/cams/meta.json").read_text(encoding="utf-8"))
        titles = made["methods"]
        method = method or next(iter(titles))
        if method not in titles:
            raise InputError(
                f"{name}: {revision} has no maps by {method}.{did_you_mean(method, titles)} "
                f"It has: {', '.join(titles)}"
            )
        if not (folder / "data/judgement/scores.csv").is_file():
            raise InputError(f"{revision} was made by a version without data/judgement/scores.csv")
        scores = csv_tables.read_table(folder / "data/judgement/scores.csv")
        about = json.loads((folder / "data/judgement/about.json").read_text(encoding="utf-8"))
        own = scores[scores["method"] == method].set_index("file")
        numbers = [measure for measure in about["measures"] if measure in own]
        return Experiment(
            name=name,
            title=titles[method],
            params=load_yaml(files.read_text("params.yaml")),
            classes=made["classes"],
            predictions=csv_tables.read_table(folder / "data/evaluation/predictions.csv"),
            maps=StoredMaps(np.load(folder / f"data/cams/{method}.npy")),
            scores=own[numbers].apply(pd.to_numeric, errors="coerce"),
            entries={measure: about["measures"][measure] for measure in numbers},
            images=_hash(lock, "download", "data/raw.zip"),
            packed=_hash(lock, "select", "data/images"),
        )


def packed(name: str, repository: Path, folder: Path) -> Packed:
    """The packed images of an experiment's revision, copied into `folder`."""
    revision = name.partition(":")[0]
    _get(_files(revision, repository), revision, folder, "data/images")
    return images.load_packed(folder / "data/images")


def check(experiments: Sequence[Experiment]) -> None:
    """Raise `InputError` if the experiments are of other images than the first."""
    first = experiments[0]
    for other in experiments[1:]:
        if other.images != first.images:
            raise InputError(
                f"{other.name} is of other images than {first.name} (data/raw.zip differs): "
                "compare experiments with the same source, images_per_class and draw_seed"
            )


def _hash(lock: dict[str, Any], stage: str, path: str) -> str:
    """What dvc.lock says of an output."""
    return next(out["md5"] for out in lock["stages"][stage]["outs"] if out["path"] == path)


def _files(revision: str, repository: Path) -> DVCFileSystem:
    try:
        files = DVCFileSystem(str(repository), rev=None if revision == WORKSPACE else revision)
        files.ls("/", detail=False)
    except DvcException as error:
        raise InputError(
            f"{revision}: {error}. Give git revisions or names of experiments (`dvc exp list`), "
            f"or {WORKSPACE}"
        ) from error
    return files


def _get(files: DVCFileSystem, revision: str, folder: Path, *paths: str) -> None:
    for path in paths:
        try:
            files.get(f"{path}/", str(folder / path), recursive=True)
        except (FileNotFoundError, DataIndexDirError, DvcException) as error:
            raise InputError(
                f"{revision}: {path} is neither in the cache nor in a remote. Run `dvc fetch`, or "
                "`dvc repro` on that revision"
            ) from error
