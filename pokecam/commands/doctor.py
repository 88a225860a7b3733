"""What this machine can do for the pipeline, and how to mend what it cannot."""

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch

from pokecam.common import running
from pokecam.common.errors import InputError
from pokecam.common.params import read_params
from pokecam.data.sources import kaggle
from pokecam.data.sources.registry import DownloadSettings, find_source
from pokecam.networks import device
from pokecam.networks.backbones import imagenet_weights
from pokecam.networks.families import BACKBONES

KAGGLE_HOST = "www.kaggle.com"
TIMEOUT_S = 3.0
COMMAND_TIMEOUT_S = 60.0
FREE_GB = 2.0  # the default run leaves 0.15 GB in the cache, a run with the Kaggle set 1.5 GB
LOCKED_VERSION = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", flags=re.MULTILINE)
PACKAGES = ("dvc", "torch", "torchvision", "numpy", "pandas", "pillow", "safetensors")


class State(Enum):
    """How bad a finding is. With a FAULT the pipeline does not run. With a HINT it does, but
    something is missing."""

    FINE = "ok"
    HINT = "note"
    FAULT = "FAULT"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        about: what was checked.
        state: how bad the result is.
        result: what the check found.
        advice: what to do about it, or "" if nothing has to be done.
    """

    about: str
    state: State
    result: str
    advice: str = ""


def findings(project: Path) -> Iterator[Finding]:
    """Run all checks in turn. They change nothing and download nothing.

    Args:
        project: the top folder of the clone.

    Yields:
        The findings, as soon as each is there.
    """
    for check in CHECKS:
        yield from check(project)


def _versions(project: Path) -> Iterator[Finding]:
    python = platform.python_version()
    yield Finding("Python", State.FINE, f"{python} in {sys.prefix}")
    requirements = (project / "requirements.txt").read_text(encoding="utf-8")
    locked = dict(LOCKED_VERSION.findall(requirements))
    missing, different = [], []
    for name in PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if version.split("+")[0] != locked.get(name, version).split("+")[0]:
            different.append(f"{name} {version} (locked: {locked[name]})")
    if missing:
        yield Finding("packages", State.FAULT, f"not installed: {', '.join(missing)}", "run `make`")
    if different:
        advice = "figures may differ from those of the locked versions; `make` installs these"
        yield Finding("packages", State.HINT, "; ".join(different), advice)
    if not missing and not different:
        yield Finding("packages", State.FINE, f"as locked, torch {torch.__version__}")


def _compute(_: Path) -> Iterator[Finding]:
    chosen = device.pick_device("auto")
    if chosen.type == "cuda":
        free, total = torch.cuda.mem_get_info(chosen)
        name = torch.cuda.get_device_name(chosen)
        memory = f"{free / 1e9:.0f} of {total / 1e9:.0f} GB free"
        yield Finding("device", State.FINE, f"{name}, {memory}, CUDA {torch.version.cuda}")
    elif chosen.type == "mps":
        yield Finding("device", State.FINE, "Apple GPU (mps)")
    else:
        advice = ""
        if shutil.which("nvidia-smi"):
            advice = "there is an NVIDIA driver: is this torch built for CUDA (README, install)?"
        yield Finding("device", State.HINT if advice else State.FINE, "cpu, no GPU", advice)
    threads = torch.get_num_threads()
    instructions = torch.backends.cpu.get_cpu_capability()
    processor = f"{running.usable_cores()} cores, {threads} threads, {instructions}"
    yield Finding("processor", State.FINE, processor)
    if not os.environ.get("OMP_NUM_THREADS"):
        advice = "results depend on it; OMP_NUM_THREADS=1 gives the bytes of the committed run"
        yield Finding("threads", State.HINT, f"PyTorch uses {threads}", advice)


def _disk(project: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(project).free / 1e9
    advice = ""
    if free < FREE_GB:
        advice = f"a run needs {FREE_GB:.0f} GB: `dvc gc -w` removes old results"
    yield Finding("disk", State.HINT if advice else State.FINE, f"{free:.1f} GB free", advice)


def _cache(project: Path) -> Iterator[Finding]:
    if not (project / ".dvc").is_dir():
        yield Finding("DVC", State.FAULT, f"{project.resolve()} has no .dvc", "clone with git")
        return
    yield from written_in_place(project)
    folder = _output(["dvc", "cache", "dir"], project)
    cache = Path(folder.strip()) if folder else project / ".dvc" / "cache"
    configured = _output(["dvc", "config", "cache.type"], project).strip() or "reflink,copy"
    link = _link(cache, project, configured.split(","))
    advice = ""
    if link in ("hardlink", "symlink"):
        advice = (
            "do not write into files of data/ and models/: that would change the cache, too "
            '(docs/experiments.md, "Links")'
        )
    state = State.HINT if advice else State.FINE
    yield Finding("DVC's cache", state, f"{cache}, by {link}", advice)
    if _output(["git", "status", "--porcelain", "params.yaml", "dvc.lock"], project).strip():
        difference = "params.yaml or dvc.lock differs from the commit"
        yield Finding("git", State.HINT, difference, "`dvc status` lists the stages that would run")
    checkpoints = [path for path in (project / "checkpoints").glob("*") if path.is_file()]
    if checkpoints:
        trainings = f"{len(checkpoints)} interrupted trainings in checkpoints/"
        advice = "`dvc repro` continues the current one; old ones can be deleted"
        yield Finding("checkpoints", State.HINT, trainings, advice)


def written_in_place(project: Path) -> Iterator[Finding]:
    """Check the two files that DVC writes in place, without a temporary file.

    A DVC that is killed meanwhile leaves them empty or cut short, and after that no DVC command
    works (seen with 3.67). No result is lost with them: the cache holds the results, under the
    hashes of what they were made from.

    Args:
        project: the top folder of the clone.

    Yields:
        A fault for each file that cannot be read.
    """
    # DVC reads dvc.lock by its own rules, so DVC is asked.
    listing = _run(["dvc", "stage", "list"], project)
    if listing and listing.returncode and "dvc.lock" in listing.stderr:
        error = listing.stderr.removeprefix("ERROR: ").strip().partition("\n")[0]
        advice = "a dvc was killed while it wrote it: `git checkout dvc.lock`, then `dvc repro`"
        yield Finding("dvc.lock", State.FAULT, error, advice)
    locks = project / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(locks.read_bytes())
    except FileNotFoundError:
        pass
    except ValueError as error:
        advice = f"a dvc was killed while it wrote it: `rm {locks.relative_to(project)}`"
        yield Finding("DVC's locks", State.FAULT, f"{locks.name} cannot be read: {error}", advice)


def _link(cache: Path, project: Path, configured: Sequence[str]) -> str:
    """Return how DVC brings a file from the cache into the project: by the first of the configured
    ways (`cache.type`) that works."""
    cache.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(dir=cache) as file,
        tempfile.TemporaryDirectory(dir=project, suffix=".tmp") as folder,
    ):
        tries: dict[str, Callable[[], bool]] = {
            "reflink": lambda: _succeeds(
                ["cp", "--reflink=always", file.name, f"{folder}/reflink"]
            ),
            "hardlink": lambda: _links(os.link, file.name, f"{folder}/hardlink"),
            "symlink": lambda: _links(os.symlink, file.name, f"{folder}/symlink"),
        }
        for name in configured:
            if name in tries and tries[name]():
                return name
    return "copy"


def _links(link: Callable[[str, str], None], file: str, path: str) -> bool:
    """Return whether a link can be made."""
    try:
        link(file, path)
    except OSError:
        return False
    return True


def _source(project: Path) -> Iterator[Finding]:
    """Find what DVC cannot read in the source: it would end with a message of its own."""
    params, pipeline = project / "params.yaml", project / "dvc.yaml"
    if not params.exists():
        return
    try:
        source = project / read_params(DownloadSettings, params, pipeline).source
        find_source(str(source)).check(source)
    except InputError as error:
        yield Finding("source", State.FAULT, str(error), "mend that, then run `dvc repro`")


def _network(project: Path) -> Iterator[Finding]:
    about = "source: datasets/kaggle.yaml"
    archive = kaggle.cached(project / "datasets" / "kaggle.yaml")
    if archive:
        yield Finding(about, State.FINE, f"downloaded already: {archive}")
        return
    try:
        socket.create_connection((KAGGLE_HOST, 443), timeout=TIMEOUT_S).close()
    except OSError as error:
        advice = (
            "`source: datasets/drawn.yaml` needs no network; or set `source` to a folder or an "
            "archive"
        )
        yield Finding(about, State.HINT, f"{KAGGLE_HOST}: {error}", advice)
    else:
        yield Finding(about, State.FINE, f"{KAGGLE_HOST} can be reached")


def _weights(project: Path) -> Iterator[Finding]:
    shipped = sorted(path.stem for path in (project / "pretrained").glob("*.safetensors"))
    if shipped:
        yield Finding("weights: drawn", State.FINE, ", ".join(shipped))
    else:
        yield Finding(
            "weights: drawn", State.FAULT, "none", "git has them: `git checkout pretrained`"
        )
    folder = Path(torch.hub.get_dir(), "checkpoints")
    files = {name: folder / Path(imagenet_weights(name).url).name for name in BACKBONES}
    downloaded = [name for name, file in files.items() if file.is_file()]
    if downloaded:
        yield Finding("weights: imagenet", State.FINE, ", ".join(downloaded))
    else:
        advice = "the first run with `weights: imagenet` downloads them and needs a network"
        yield Finding("weights: imagenet", State.HINT, f"none in {folder}", advice)


def _output(command: list[str], folder: Path) -> str:
    """Return what a command prints, or "" if it fails or does not exist."""
    process = _run(command, folder)
    return "" if process is None or process.returncode else process.stdout


def _succeeds(command: list[str]) -> bool:
    process = _run(command, Path())
    return process is not None and process.returncode == 0


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str] | None:
    """Run a command in a folder. Return None if it does not exist or does not end in time."""
    try:
        return subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None


CHECKS: tuple[Callable[[Path], Iterator[Finding]], ...] = (
    _versions,
    _compute,
    _disk,
    _cache,
    _source,
    _network,
    _weights,
)
