"""Stages of the pipeline in a folder of their own, with the committed parameters or others."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from pokecam.data.packed import csv_tables, images, splits
from pokecam.judging.case import Case, load_case
from pokecam.networks import classifier
from support import PROJECT

SAMPLE_S = 0.02


def workplace(folder: Path, **changes: object) -> Path:
    """Make a folder in which stages run as in the project, with changed parameters."""
    folder.mkdir()
    for name in ("dvc.yaml", "datasets", "pokecam", "pretrained"):
        (folder / name).symlink_to(PROJECT / name)
    params = yaml.safe_load((PROJECT / "params.yaml").read_text()) | changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


def run(folder: Path, *stages: str) -> None:
    """Run stages one after another. The program ends if one fails."""
    for stage in stages:
        measure([sys.executable, "-m", f"stages.{stage}"], folder)


def workplace_of_default_run(folder: Path, **changes: object) -> Path:
    """Make a folder with the results of the committed run up to `evaluate`, and run `cam` there."""
    require_default_run()
    workplace(folder, **changes)
    (folder / "data").mkdir()
    for name in (
        "data/images",
        "data/split.csv",
        "data/lookalikes.json",
        "data/evaluation",
        "models",
    ):
        (folder / name).symlink_to(PROJECT / name)
    run(folder, "cam")
    return folder


def require_default_run() -> None:
    """End the program if `dvc repro` has not run in the project."""
    if not (PROJECT / "data/evaluation").is_dir():
        sys.exit("there is nothing to judge: run `dvc repro` first")


def load_test_case(folder: Path) -> Case:
    """Load what `judge` judges in a folder in which `cam` has run."""
    return load_case(
        classifier.load_classifier(folder / "models/classifier.safetensors"),
        images.load_packed(folder / "data/images"),
        splits.subset_rows(csv_tables.read_table(folder / "data/split.csv"), "test"),
        images.read_lookalikes(folder / "data/lookalikes.json"),
        folder / "data/evaluation",
        folder / "data/cams",
    )


@dataclass(frozen=True)
class Memory:
    """Memory of a process in MB.

    Attributes:
        private: memory that only this process has.
        files: mapped files that are in memory.
    """

    private: float = 0.0
    files: float = 0.0

    def highest(self, other: "Memory") -> "Memory":
        return Memory(max(self.private, other.private), max(self.files, other.files))

    def above(self, other: "Memory") -> "Memory":
        return Memory(self.private - other.private, self.files - other.files)


def measure(command: list[str], folder: Path) -> tuple[float, Memory]:
    """Run a command in a folder. The program ends if it fails.

    Returns:
        Its seconds and its highest memory, sampled every `SAMPLE_S` from /proc (Linux).
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        highest = Memory()
        while process.poll() is None:
            highest = highest.highest(_memory(process.pid))
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - started
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(command)} failed in {folder}:\n{errors.read()}")
    return seconds, highest


def _memory(pid: int) -> Memory:
    """Return the present memory of a process, or 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return Memory()
    kb = {
        key: int(value.split()[0])
        for key, _, value in (line.partition(":") for line in status.splitlines())
        if key in ("RssAnon", "RssFile")
    }
    return Memory(kb.get("RssAnon", 0) / 1024, kb.get("RssFile", 0) / 1024)
