"""Outputs that are written whole or not at all, in the same bytes every time."""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from pokecam.common.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

_LEFT_OVER = re.compile(r"\..+\.(\d+)\.tmp")
# Whose writes fail on a disk with less than this fail for that reason; not every library says so.
_FULL_BYTES = 2**20


def files_below(folder: Path) -> list[Path]:
    """Return all files of a folder and its subfolders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; on success it replaces `path`
    in one step, on an exception it is removed and `path` is as it was.

    Raises `InputError` if the disk is full; whatever else is raised inside passes through.
    """
    temporary = _temporary(path)
    try:
        with _full_disk_told(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a new temporary folder beside `path` to fill; on success it replaces `path`
    and everything in it, on an exception it is removed and `path` is as it was.

    Raises `InputError` if the disk is full; whatever else is raised inside passes through.
    """
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with _full_disk_told(path):
            yield temporary
            # A folder cannot be replaced in one step; what is lost between these two lines
            # is an output that DVC would have deleted before the run anyway.
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files that processes which were killed have left in `folder`."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        left = _LEFT_OVER.fullmatch(path.name)
        if left and not psutil.pid_exists(int(left[1])):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` as indented UTF-8 JSON, keys in the order given; NaN is refused."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_csv(path: Path, frame: "DataFrame") -> None:
    """Write `frame` as UTF-8 csv with a header, no index, floats with six significant digits."""
    with whole_file(path) as temporary:
        frame.to_csv(
            temporary, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8"
        )


def _temporary(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # torch, safetensors, numpy: each reports it with a type of its own
        if not _is_full(error, path.parent):
            raise
        raise InputError(
            f"the disk is full: {path} could not be written ({error}); make room there, or for "
            f"temporary files in {tempfile.gettempdir()}, and run again"
        ) from None


def _is_full(error: Exception, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return shutil.disk_usage(folder).free < _FULL_BYTES
