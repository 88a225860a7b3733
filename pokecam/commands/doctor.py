"""What this machine can do for the pipeline, and what to do about what it cannot."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch

from pokecam.common import running
from pokecam.data.sources import kaggle
from pokecam.networks import device
from pokecam.networks.backbones import BACKBONES, imagenet_weights

KAGGLE_HOST = "www.kaggle.com"
TIMEOUT_S = 3.0
ROOM_GB = 2.0  # the default run leaves 0.15 GB in the cache, the Kaggle set 1.5
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", flags=re.MULTILINE)


class State(Enum):
    """How a finding is meant: nothing runs with a FAULT; with a HINT something is missing."""

    FINE = "ok"
    HINT = "note"
    FAULT = "FAULT"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what to do about it, "" if nothing."""

    about: str
    state: State
    found: str
    advice: str = ""


def findings(project: Path) -> Iterator[Finding]:
    """Look at everything, one after another; nothing is changed and nothing is fetched."""
    for look in LOOKS:
        yield from look(project)


def _versions(project: Path) -> Iterator[Finding]:
    python = platform.python_version()
    yield Finding("Python", State.FINE, f"{python} in {sys.prefix}")
    wanted = dict(PINNED.findall((project / "requirements.txt").read_text(encoding="utf-8")))
    direct = ("dvc", "torch", "torchvision", "numpy", "pandas", "pillow", "safetensors")
    missing, other = [], []
    for name in direct:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if version.split("+")[0] != wanted.get(name, version).split("+")[0]:
            other.append(f"{name} {version} (locked: {wanted[name]})")
    if missing:
        yield Finding("packages", State.FAULT, f"not installed: {', '.join(missing)}", "run `make`")
    if other:
        advice = "figures may differ from those of the locked versions; `make` installs these"
        yield Finding("packages", State.HINT, "; ".join(other), advice)
    if not missing and not other:
        yield Finding("packages", State.FINE, f"as locked, torch {torch.__version__}")


def _compute(_: Path) -> Iterator[Finding]:
    chosen = device.pick_device("auto")
    if chosen.type == "cuda":
        free, total = torch.cuda.mem_get_info(chosen)
        name = torch.cuda.get_device_name(chosen)
        found = f"{name}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free, CUDA {torch.version.cuda}"
        yield Finding("device", State.FINE, found)
    elif chosen.type == "mps":
        yield Finding("device", State.FINE, "Apple GPU (mps)")
    else:
        advice = ""
        if shutil.which("nvidia-smi"):
            advice = "there is an NVIDIA driver: is this torch built for CUDA (README, install)?"
        yield Finding("device", State.HINT if advice else State.FINE, "cpu, no GPU", advice)
    threads = torch.get_num_threads()
    able = torch.backends.cpu.get_cpu_capability()
    found = f"{running.usable_cores()} cores, {threads} threads, {able}"
    yield Finding("processor", State.FINE, found)
    if not os.environ.get("OMP_NUM_THREADS"):
        advice = "results depend on it; OMP_NUM_THREADS=1 gives the bytes of the committed run"
        yield Finding("threads", State.HINT, f"PyTorch takes {threads}", advice)


def _disk(project: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(project).free / 1e9
    advice = f"a run wants {ROOM_GB:.0f} GB: `dvc gc -w` takes old results away" * (free < ROOM_GB)
    state = State.HINT if free < ROOM_GB else State.FINE
    yield Finding("disk", state, f"{free:.1f} GB free", advice)


def _cache(project: Path) -> Iterator[Finding]:
    if not (project / ".dvc").is_dir():
        yield Finding("DVC", State.FAULT, f"{project.resolve()} has no .dvc", "clone with git")
        return
    yield from written_in_place(project)
    told = _told(["dvc", "cache", "dir"], project)
    cache = Path(told.strip()) if told else project / ".dvc" / "cache"
    link = _link(cache, project)
    advice = "" if link != "copy" else "every result is stored twice: keep both on one file system"
    yield Finding(
        "DVC's cache", State.HINT if advice else State.FINE, f"{cache}, by {link}", advice
    )
    if _told(["git", "status", "--porcelain", "params.yaml", "dvc.lock"], project).strip():
        found = "params.yaml or dvc.lock is not what was committed"
        yield Finding("git", State.HINT, found, "`dvc status` says what would run")
    waiting = [path.name for path in (project / "checkpoints").glob("*") if path.is_file()]
    if waiting:
        found = f"{len(waiting)} interrupted trainings in checkpoints/"
        yield Finding("checkpoints", State.HINT, found, "`dvc repro` goes on; old ones may go")


def written_in_place(project: Path) -> Iterator[Finding]:
    """The two files that DVC writes in place, without a temporary file: one that is killed
    meanwhile leaves them empty or cut short, and then DVC does nothing any more (seen with 3.67).
    Nothing is lost with them: the results are in the cache, by what they were made from."""
    # Asked of DVC itself, which reads dvc.lock by its own rules.
    listing = _ran(["dvc", "stage", "list"], project)
    if listing and listing.returncode and "dvc.lock" in listing.stderr:
        found = listing.stderr.removeprefix("ERROR: ").strip().partition("\n")[0]
        advice = "a dvc was killed while it wrote it: `git checkout dvc.lock`, then `dvc repro`"
        yield Finding("dvc.lock", State.FAULT, found, advice)
    locks = project / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(locks.read_bytes())
    except FileNotFoundError:
        pass
    except ValueError as error:
        advice = f"a dvc was killed while it wrote it: `rm {locks.relative_to(project)}`"
        yield Finding("DVC's locks", State.FAULT, f"{locks.name} cannot be read: {error}", advice)


def _link(cache: Path, project: Path) -> str:
    """How a file gets from the cache into the project: the first way of .dvc/config that works."""
    cache.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(dir=cache) as there,
        tempfile.TemporaryDirectory(dir=project, suffix=".tmp") as folder,
    ):
        if _succeeds(["cp", "--reflink=always", there.name, f"{folder}/reflink"]):
            return "reflink"
        try:
            os.link(there.name, f"{folder}/hardlink")
        except OSError:
            return "copy"
    return "hardlink"


def _network(project: Path) -> Iterator[Finding]:
    archive = kaggle.cached(project / "datasets" / "kaggle.yaml")
    if archive:
        yield Finding("source: datasets/kaggle.yaml", State.FINE, f"fetched already: {archive}")
        return
    try:
        socket.create_connection((KAGGLE_HOST, 443), timeout=TIMEOUT_S).close()
    except OSError as error:
        advice = "`source: drawn` needs no network; or set `source` to a folder or an archive"
        yield Finding("source: datasets/kaggle.yaml", State.HINT, f"{KAGGLE_HOST}: {error}", advice)
    else:
        yield Finding("source: datasets/kaggle.yaml", State.FINE, f"{KAGGLE_HOST} can be reached")


def _weights(project: Path) -> Iterator[Finding]:
    shipped = sorted(path.stem for path in (project / "pretrained").glob("*.safetensors"))
    advice = "" if shipped else "git has them: `git checkout pretrained`"
    state = State.FINE if shipped else State.FAULT
    yield Finding("weights: drawn", state, ", ".join(shipped) or "none", advice)
    folder = Path(torch.hub.get_dir(), "checkpoints")
    files = {name: folder / Path(imagenet_weights(name).url).name for name in BACKBONES}
    fetched = [name for name, file in files.items() if file.is_file()]
    if fetched:
        yield Finding("weights: imagenet", State.FINE, ", ".join(fetched))
    else:
        advice = "they are fetched by the first run that asks for them, which needs a network"
        yield Finding("weights: imagenet", State.HINT, f"none in {folder}", advice)


def _told(command: list[str], folder: Path) -> str:
    """What a command prints; "" if it fails or does not exist."""
    run = _ran(command, folder)
    return "" if run is None or run.returncode else run.stdout


def _succeeds(command: list[str]) -> bool:
    run = _ran(command, Path())
    return run is not None and run.returncode == 0


def _ran(command: list[str], folder: Path) -> subprocess.CompletedProcess[str] | None:
    """A command that has run in a folder; None if it does not exist or takes a minute."""
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None


LOOKS: tuple[Callable[[Path], Iterator[Finding]], ...] = (
    _versions,
    _compute,
    _disk,
    _cache,
    _network,
    _weights,
)
