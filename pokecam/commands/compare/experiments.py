"""The results of an experiment, read through DVC without running or checking out anything."""

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
from dvc.fs import GitFileSystem
from dvc.repo import Repo
from dvc_data.index import DataIndexDirError

from pokecam.cam.stored_maps import StoredMaps
from pokecam.commands.programs import is_shallow
from pokecam.common.errors import InputError, first_line, unknown_name
from pokecam.common.params import load_yaml
from pokecam.data.packed import csv_tables, images
from pokecam.data.packed.images import Packed
from pokecam.report import lookalikes
from pokecam.report.inputs import Judgement, read_judgement

WORKSPACE = "workspace"  # what DVC calls the files that are not committed


@dataclass(frozen=True)
class Experiment:
    """One column of the comparison: a revision, and one of its methods.

    Attributes:
        name: `REVISION` or `REVISION:METHOD`.
        method: its name in params.yaml.
        title: of the method.
        params: of params.yaml.
        classes: C names.
        predictions: file, label, predicted, probability, p:<class>, of N test images.
        maps: raw maps of the N images for their true classes, by the method.
        scores: file → a column for each measure, of the images that were measured.
        entries: measure → its title, and `better`: 1 if more is better, −1 if less.
        metrics: of the predictions: those of `evaluate`, and `lookalike_accuracy`.
        judgement: the tables of the judge stage.
        images: the hash of the archive.
        packed: the hash of the packed images.
    """

    name: str
    method: str
    title: str
    params: dict[str, Any]
    classes: list[str]
    predictions: pd.DataFrame
    maps: np.ndarray  # (N, h, w)
    scores: pd.DataFrame
    entries: dict[str, dict[str, Any]]
    metrics: dict[str, float | None]
    judgement: Judgement
    images: str
    packed: str

    @cached_property
    def row_of(self) -> dict[str, int]:
        """File → its row in `predictions` and `maps`."""
        return {file: row for row, file in enumerate(self.predictions["file"])}

    def map_of(self, file: str) -> np.ndarray:
        """Return the raw map (h, w) of an image for its true class."""
        return self.maps[self.row_of[file]]


def read_experiment(name: str, repository: Path) -> Experiment:
    """Read an experiment.

    Args:
        name: `REVISION` or `REVISION:METHOD`. Without a method, it is the first that has maps.
        repository: the folder of the project.

    Raises:
        InputError: there is no such revision or method, or its results are not in the cache.
    """
    revision, _, method = name.partition(":")
    files = _files(revision, repository)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _get(files, revision, folder, "data/evaluation", "data/cams", "data/judgement")
        lock = load_yaml(files.read_text("dvc.lock"))
        meta = json.loads((folder / "data/cams/meta.json").read_text(encoding="utf-8"))
        titles = meta["methods"]
        method = method or next(iter(titles))
        if method not in titles:
            raise InputError(
                f"{name}: among the maps of {revision}, {method} {unknown_name(method, titles)}"
            )
        if not (folder / "data/judgement/scores.csv").is_file():
            raise InputError(
                f"{revision} has no data/judgement/scores.csv: it comes from an older version; run "
                "`dvc repro` on that revision"
            )
        judgement = read_judgement(folder / "data/judgement")
        scores = judgement.scores[judgement.scores["method"] == method].set_index("file")
        entries = judgement.about["measures"]
        predictions = csv_tables.read_table(folder / "data/evaluation/predictions.csv")
        labels = pd.Index(meta["classes"]).get_indexer(predictions["label"])
        maps = StoredMaps(np.load(folder / f"data/cams/{method}.npy"))
        measures = [measure for measure in entries if measure in scores]
        return Experiment(
            name=name,
            method=method,
            title=titles[method],
            params=_parameters(files, folder / "data/evaluation"),
            classes=meta["classes"],
            predictions=predictions,
            maps=maps.of(np.arange(len(predictions)), labels),
            scores=scores[measures],
            entries={measure: entries[measure] for measure in measures},
            metrics=_metrics(files, folder / "data/evaluation", predictions),
            judgement=judgement,
            images=_hash(lock, "download", "data/raw.zip"),
            packed=_hash(lock, "select", "data/images"),
        )


def _parameters(files: DVCFileSystem, evaluation: Path) -> dict[str, Any]:
    """Return the parameters, with the weights that `weights: auto` stood for."""
    params = load_yaml(files.read_text("params.yaml"))
    if params.get("weights") == "auto":
        metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
        params["weights"] = metrics["weights"]
    return params


def read_packed(name: str, repository: Path, folder: Path) -> Packed:
    """Copy the packed images of an experiment from the cache, and load them.

    Args:
        name: of the experiment; a method in it is ignored.
        repository: the folder of the project.
        folder: where they are copied to.

    Raises:
        InputError: there is no such revision, or the images are not in the cache.
    """
    revision = name.partition(":")[0]
    _get(_files(revision, repository), revision, folder, "data/images")
    return images.load_packed(folder / "data/images")


def experiment_names(repository: Path) -> list[str]:
    """Return the names of all experiments, as `dvc exp list --all-commits` prints them.

    Raises:
        InputError: DVC cannot list them.
    """
    try:
        with Repo(str(repository)) as repo:
            lists = repo.experiments.ls(all_commits=True)
    except DvcException as error:
        raise InputError(f"the experiments cannot be listed: {first_line(error)}") from error
    return sorted({name for entries in lists.values() for name, _ in entries})


def check_same_images(experiments: Sequence[Experiment]) -> None:
    """Check that all experiments have the same source images.

    Raises:
        InputError: one has other images than the first.
    """
    first = experiments[0]
    for other in experiments[1:]:
        if other.images != first.images:
            raise InputError(
                f"{other.name} has other source images than {first.name} (data/raw.zip differs): "
                "compare experiments with the same source, images_per_class and draw_seed"
            )


def _metrics(
    files: DVCFileSystem, evaluation: Path, predictions: pd.DataFrame
) -> dict[str, float | None]:
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    groups = json.loads(files.read_text("data/lookalikes.json"))["groups"]
    return metrics | {"lookalike_accuracy": lookalikes.accuracy(predictions, groups)}


def _hash(lock: dict[str, Any], stage: str, path: str) -> str:
    """Return the hash of an output in dvc.lock."""
    return next(out["md5"] for out in lock["stages"][stage]["outs"] if out["path"] == path)


def _files(revision: str, repository: Path) -> DVCFileSystem:
    """Return the files of a revision by their paths in the project, outputs included."""
    try:
        if revision == WORKSPACE:
            files = DVCFileSystem(str(repository))
        else:
            files = DVCFileSystem(_open_revision(revision, repository))
        files.ls("/", detail=False)
    except DvcException as error:
        shallow = "; this clone is shallow: `git fetch --unshallow` brings older commits"
        raise InputError(
            f"{revision}: {error}. Expected git revisions, names of experiments (`dvc exp list`) "
            f"or {WORKSPACE}{shallow if is_shallow(repository) else ''}"
        ) from error
    return files


def _open_revision(revision: str, repository: Path) -> Repo:
    """Return the project of a revision, with the cache and the remote of this clone.

    A larger git repository may have the project as a subfolder. The paths of a revision begin at
    the top folder of git, and there DVC alone would look for the project.
    """
    with Repo(str(repository)) as clone:
        git = clone.scm
        config: dict[str, Any] = {"cache": {"dir": clone.cache.local_cache_dir}}
        name = clone.config["core"].get("remote")
        if name in clone.config["remote"]:
            config |= {"core": {"remote": name}, "remote": {name: clone.config["remote"][name]}}
        subfolder = Path(clone.root_dir).resolve().relative_to(Path(git.root_dir).resolve())
    files = GitFileSystem(scm=git, rev=revision)
    top = f"/{subfolder.as_posix()}"  # of the file system of git, on Windows, too
    if not files.exists(f"{top}/{Repo.DVC_DIR}"):
        raise InputError(
            f"{revision}: it does not have this project in its folder {subfolder}: name a commit "
            "that does"
        )
    return Repo(top, fs=files, scm=git, config=config)


def _get(files: DVCFileSystem, revision: str, folder: Path, *paths: str) -> None:
    for path in paths:
        try:
            files.get(f"{path}/", str(folder / path), recursive=True)
        except (FileNotFoundError, DataIndexDirError, DvcException) as error:
            raise InputError(
                f"{revision}: its {path} is neither in DVC's cache nor in a remote, so its run "
                f"cannot be read here. {_advice(revision)}"
            ) from error


def _advice(revision: str) -> str:
    """Return what to do about a run that is not there."""
    if revision == WORKSPACE:
        return "Run `dvc repro`"
    return (
        "Commit a run of yours (`dvc repro`, `git add .`, `git commit`) and name that commit, "
        f"compare with {WORKSPACE}, or compute this one: `git checkout {revision}` (of an "
        f"experiment: `dvc exp apply {revision}`) and `dvc repro`"
    )
