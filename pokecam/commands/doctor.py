"""What this machine can do for the pipeline, and how to mend what it cannot.

It looks, and never writes. A check imports what it needs, so that the others also run without it.
"""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from pokecam.commands import programs
from pokecam.common import running
from pokecam.common.errors import InputError, first_line

if TYPE_CHECKING:
    from pokecam.commands.cache import CacheSettings

KAGGLE_HOST = "www.kaggle.com"
TIMEOUT_S = 3.0
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
        The findings, as soon as each is there. A check that fails is a finding, too.
    """
    for about, check in CHECKS.items():
        try:
            yield from check(project)
        except Exception as error:  # whatever is wrong with the machine, the next check runs
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            advice = "remove the cause and run this again; the other lines do not depend on it"
            yield Finding(about, State.HINT, f"could not be checked: {reason}", advice)


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
        torch_version = importlib.metadata.version("torch")
        yield Finding("packages", State.FINE, f"as locked, torch {torch_version}")


def _device(_: Path) -> Iterator[Finding]:
    import torch

    from pokecam.networks import device

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


def _processor(_: Path) -> Iterator[Finding]:
    import torch

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


def _dvc(project: Path) -> Iterator[Finding]:
    if not (project / ".dvc").is_dir():
        yield Finding("DVC", State.FAULT, f"{project.resolve()} has no .dvc", "clone with git")
        return
    yield from written_in_place(project)


def _cache(project: Path) -> Iterator[Finding]:
    from pokecam.commands import cache

    if not (project / ".dvc").is_dir():
        return
    try:
        settings = cache.read_settings(project)
    except InputError as error:
        advice = "no `dvc` command works before this is corrected"
        yield Finding("DVC's settings", State.FAULT, str(error), advice)
        return
    place, state, missing, advice = _cache_folder(settings)
    if missing:
        yield Finding("DVC's cache", state, f"{place} {missing}", advice)
        return
    if unwritable := cache.unwritable_folder(settings.folder):
        advice = "finished results can be read from it; to store new ones, set another cache.dir"
        yield Finding("DVC's cache", State.FAULT, f"{unwritable} cannot be written to", advice)
    links = cache.links_in_use(project, settings.folder)
    expected = cache.expected_link(project, settings.folder, settings.link_types)
    if expected == "reflink":
        links = {"reflink" if link == "copy" else link for link in links}  # they look the same
    links = links or {expected}
    advice = ""
    if links & {"hardlink", "symlink"}:
        advice = (
            "do not write into files of data/ and models/: that would change the cache, too "
            '(docs/experiments.md, "Links")'
        )
    state = State.HINT if advice else State.FINE
    yield Finding("DVC's cache", state, f"{place}, by {' and '.join(sorted(links))}", advice)


def _cache_folder(settings: "CacheSettings") -> tuple[str, State, str, str]:
    """Look whether the folder of the cache is there.

    Returns:
        The folder as text, how bad it is, what is wrong ("" if nothing), and advice.
    """
    folder = settings.folder
    place = f"{folder} → {folder.resolve()}" if folder.is_symlink() else f"{folder}"
    if folder.exists() and not folder.is_dir():
        advice = "move the file away, or set cache.dir to a folder"
        return place, State.FAULT, "is not a folder", advice
    if not folder.exists() and folder.is_symlink():
        advice = "mount its disk or remove the link: DVC cannot make a folder there"
        return place, State.FAULT, "does not exist", advice
    if settings.is_configured and not (folder.exists() and any(folder.iterdir())):
        problem = "is empty" if folder.exists() else "does not exist"
        advice = "if it is on a share or another disk, mount that first: DVC would begin a new one"
        return place, State.HINT, f"(cache.dir) {problem}", advice
    return place if folder.exists() else f"{place} (not made yet)", State.FINE, "", ""


def _git(project: Path) -> Iterator[Finding]:
    answer = programs.run(["git", "rev-parse", "--git-dir"], project)
    if answer is None:
        advice = "install git: `restore`, `dvc exp` and your commits need it"
        yield Finding("git", State.HINT, "is not installed", advice)
        return
    if answer.returncode:
        if not _works_without_git(project):
            reason = answer.stderr.strip().partition("\n")[0]
            advice = "clone the project with git: DVC needs the repository"
            yield Finding("git", State.FAULT, reason, advice)
        return
    if programs.is_shallow(project):
        advice = (
            "first `git fetch --unshallow`, then `git fetch origin 'refs/exps/*:refs/exps/*'` "
            '(docs/experiments.md, "Shallow clones")'
        )
        missing = "a shallow clone: older commits and their experiments are missing"
        yield Finding("git", State.HINT, missing, advice)
    if programs.output(["git", "status", "--porcelain", "params.yaml", "dvc.lock"], project):
        difference = "params.yaml or dvc.lock differs from the commit"
        yield Finding("git", State.HINT, difference, "`dvc status` lists the stages that would run")


def _works_without_git(project: Path) -> bool:
    """Return whether DVC's settings say that there is no git."""
    from pokecam.commands import cache

    try:
        return cache.read_settings(project).without_git
    except InputError:  # a finding of its own
        return False


def _checkpoints(project: Path) -> Iterator[Finding]:
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
    from dvc.dvcfile import LOCK_FILE, Lockfile
    from dvc.exceptions import DvcException
    from dvc.utils import strictyaml

    try:
        strictyaml.load(str(project / LOCK_FILE), Lockfile.SCHEMA)
    except FileNotFoundError:
        pass
    except DvcException as error:
        advice = "a dvc was killed while it wrote it: `git checkout dvc.lock`, then `dvc repro`"
        yield Finding(LOCK_FILE, State.FAULT, first_line(error), advice)
    locks = project / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(locks.read_bytes())
    except FileNotFoundError:
        pass
    except ValueError as error:
        advice = f"a dvc was killed while it wrote it: `rm {locks.relative_to(project)}`"
        yield Finding("DVC's locks", State.FAULT, f"{locks.name} cannot be read: {error}", advice)


def _source(project: Path) -> Iterator[Finding]:
    """Find what DVC cannot read in the source: it would end with a message of its own."""
    from pokecam.common.params import read_params
    from pokecam.data.sources.registry import DownloadSettings, find_source

    params, pipeline = project / "params.yaml", project / "dvc.yaml"
    if not params.exists():
        return
    try:
        source = project / read_params(DownloadSettings, params, pipeline).source
        find_source(str(source)).check(source)
    except InputError as error:
        yield Finding("source", State.FAULT, str(error), "mend that, then run `dvc repro`")


def _network(project: Path) -> Iterator[Finding]:
    from pokecam.data.sources import kaggle

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


def _shipped_weights(project: Path) -> Iterator[Finding]:
    about = "weights: drawn"
    shipped = sorted(path.stem for path in (project / "pretrained").glob("*.safetensors"))
    if shipped:
        yield Finding(about, State.FINE, ", ".join(shipped))
    else:
        yield Finding(about, State.FAULT, "none", "git has them: `git checkout pretrained`")


def _imagenet_weights(_: Path) -> Iterator[Finding]:
    import torch

    from pokecam.networks.backbones import imagenet_weights
    from pokecam.networks.families import BACKBONES

    folder = Path(torch.hub.get_dir(), "checkpoints")
    files = {name: folder / Path(imagenet_weights(name).url).name for name in BACKBONES}
    downloaded = [name for name, file in files.items() if file.is_file()]
    if downloaded:
        yield Finding("weights: imagenet", State.FINE, ", ".join(downloaded))
    else:
        advice = (
            "the first run with `weights: imagenet`, or with `weights: auto` and a backbone whose "
            "weights are not shipped, downloads them and needs a network"
        )
        yield Finding("weights: imagenet", State.HINT, f"none in {folder}", advice)


# What a check is about → the check.
CHECKS: dict[str, Callable[[Path], Iterator[Finding]]] = {
    "packages": _versions,
    "device": _device,
    "processor": _processor,
    "disk": _disk,
    "DVC": _dvc,
    "DVC's cache": _cache,
    "git": _git,
    "checkpoints": _checkpoints,
    "source": _source,
    "source: datasets/kaggle.yaml": _network,
    "weights: drawn": _shipped_weights,
    "weights: imagenet": _imagenet_weights,
}
