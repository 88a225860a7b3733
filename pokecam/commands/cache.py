"""What the settings and the cache of DVC are like, found by looking only.

DVC's own commands create missing folders, locks and test files while they look.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from dvc.config import Config, ConfigError

from pokecam.common.errors import InputError
from pokecam.common.params import load_yaml

DEFAULT_LINKS = "reflink,copy"
# File systems that can share the blocks of two files.
REFLINK_SYSTEMS = {"apfs", "bcachefs", "btrfs", "ocfs2", "xfs", "zfs"}


@dataclass(frozen=True)
class CacheSettings:
    """What DVC's settings say of its cache.

    Attributes:
        folder: of the cache. It may be missing, or a link.
        is_configured: whether `cache.dir` names it.
        link_types: of `cache.type`, in the order in which DVC tries them.
        without_git: whether DVC works without git (`core.no_scm`).
    """

    folder: Path
    is_configured: bool
    link_types: list[str]
    without_git: bool


def read_settings(project: Path) -> CacheSettings:
    """Read the settings of DVC, of all levels.

    Args:
        project: the top folder of the clone.

    Raises:
        InputError: a file of them cannot be read or has a wrong setting. The message names the
            file and, where it is known, the line.
    """
    folder = (project / ".dvc").resolve()
    files = [
        *(Path(Config.get_dir(level), Config.CONFIG) for level in ("system", "global")),
        *(folder / name for name in (Config.CONFIG, Config.CONFIG_LOCAL)),
    ]
    for file in files:
        _check_syntax(file)
    try:
        config = Config(str(folder))
    except ConfigError as error:
        raise InputError(f"{_place_of(error, files)}{_one_line(error)}") from error
    cache = config["cache"]
    types = cache.get("type") or DEFAULT_LINKS.split(",")
    return CacheSettings(
        folder=Path(cache.get("dir") or folder / "cache"),
        is_configured="dir" in cache,
        link_types=types.split(",") if isinstance(types, str) else list(types),
        without_git=bool(config["core"].get("no_scm", False)),
    )


def links_in_use(project: Path, cache: Path) -> set[str]:
    """Return how the outputs in data/ and models/ are connected with the cache.

    Args:
        project: the top folder of the clone.
        cache: its folder.

    Returns:
        Of "symlink", "hardlink" and "copy" those that occur. A reflink looks like a copy.
    """
    links = set()
    for path, md5 in _file_outputs(project):
        cached = cache / "files" / "md5" / md5[:2] / md5[2:]
        if path.is_symlink():
            if cache.resolve() in path.resolve().parents:
                links.add("symlink")
        elif path.is_file() and cached.is_file() and path.stat().st_size:
            links.add("hardlink" if path.samefile(cached) else "copy")
    return links


def expected_link(project: Path, cache: Path, link_types: Sequence[str]) -> str:
    """Return the first way to bring a file from the cache into the project that should work.

    Args:
        project: the top folder of the clone.
        cache: its folder, which may be missing.
        link_types: the ways in the order in which DVC tries them.
    """
    folder = next(folder for folder in (cache, *cache.parents) if folder.exists())
    same_device = folder.stat().st_dev == project.stat().st_dev
    for name in link_types:
        if name == "reflink" and not (same_device and _file_system(folder) in REFLINK_SYSTEMS):
            continue
        if name == "hardlink" and not same_device:
            continue
        return name
    return "copy"


def unwritable_folder(cache: Path) -> Path | None:
    """Return a folder of the cache into which this user cannot write, if there is one."""
    for folder in (cache, cache / "files", cache / "files" / "md5"):
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def _check_syntax(file: Path) -> None:
    """Check that a file of settings, if it exists, can be parsed."""
    try:
        Config.load_file(str(file))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    except ConfigError as error:
        line = ""
        if isinstance(error.__context__, UnicodeDecodeError):
            lines_before = file.read_bytes()[: error.__context__.start].count(b"\n")
            line = f", line {lines_before + 1}"
        raise InputError(f"{file}{line}: {_one_line(error)}") from error


def _place_of(error: ConfigError, files: Sequence[Path]) -> str:
    """Return the file and line of a wrong setting as `FILE, line N: `, or "" if it is not clear.

    The last file that has the setting decides.
    """
    setting = getattr(error.__context__, "path", None)  # of an error of voluptuous
    if not setting:
        return ""
    name = str(setting[-1]).casefold()
    for file in reversed(files):
        with suppress(OSError, UnicodeDecodeError):
            lines = file.read_text(encoding="utf-8").splitlines()
            for number, line in enumerate(lines, start=1):
                if line.partition("=")[0].strip(" \t[]'\"").casefold() == name:
                    return f"{file}, line {number}: "
    return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _file_outputs(project: Path) -> Iterator[tuple[Path, str]]:
    """Yield the path and the hash of the outputs in dvc.lock that are files."""
    try:
        lock = load_yaml((project / "dvc.lock").read_text(encoding="utf-8"))
        outputs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
        paths = [(project / out["path"], out["md5"]) for out in outputs if "md5" in out]
    except (OSError, InputError, ValueError, KeyError, TypeError, AttributeError):
        return  # no run yet, or dvc.lock is damaged, which is a finding of its own
    yield from ((path, md5) for path, md5 in paths if not md5.endswith(".dir"))


def _file_system(folder: Path) -> str:
    """Return the type of the file system of a folder, or "" if it is not known."""
    path = folder.resolve()
    mounts = [
        (len(mount.mountpoint), mount.fstype)
        for mount in psutil.disk_partitions(all=True)
        if path.is_relative_to(mount.mountpoint)
    ]
    return max(mounts, default=(0, ""))[1].casefold()
