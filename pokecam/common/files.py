"""Writing output files.

An output is either complete or absent, and the same content always gives the same bytes.
"""

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

_TEMPORARY_NAME = re.compile(r"\..+\.(\d+)\.tmp")  # a temporary file of the process with this id
# Torch, safetensors and numpy report a full disk by exceptions of different types, and some of
# these do not name the cause. So every exception during a write counts as a full disk if fewer
# bytes than this are free.
_FULL_BYTES = 2**20
# What Windows takes for a device, with any ending and in any case.
_DEVICE = re.compile(r"con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]", flags=re.IGNORECASE)
_RESERVED_CHARACTERS = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


def is_device_name(name: str) -> bool:
    """Return whether Windows takes a file of this name for a device, and cannot write it."""
    return _DEVICE.fullmatch(name.partition(".")[0].rstrip(" ")) is not None


def portable_name(name: str) -> str:
    """Return a name, without its ending, that a file can have on every system.

    Characters that Windows reserves become "_". Dots and blanks at the end are left out, and the
    name of a device gets a "_".
    """
    name = _RESERVED_CHARACTERS.sub("_", name).rstrip(". ") or "image"
    if is_device_name(name):
        stem, dot, rest = name.partition(".")
        return f"{stem}_{dot}{rest}"
    return name


def files_below(folder: Path) -> list[Path]:
    """Return all files of a folder and its subfolders, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file so that it is either complete or unchanged.

    At the end of the context the temporary file replaces `path` in one step. After an exception it
    is removed, and `path` stays as it was.

    Args:
        path: the file to write. Missing parent folders are created.

    Yields:
        A temporary path in the same folder, to write to.

    Raises:
        InputError: the disk is full. All other exceptions pass through.
    """
    temporary = _temporary_path(path)
    try:
        with _full_disk_as_input_error(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Write a folder so that it is either complete or unchanged.

    At the end of the context the temporary folder replaces `path` and everything in it. After an
    exception it is removed, and `path` stays as it was.

    Args:
        path: the folder to write. Missing parent folders are created.

    Yields:
        A new temporary folder beside `path`, to fill.

    Raises:
        InputError: the disk is full. All other exceptions pass through.
    """
    temporary = _temporary_path(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with _full_disk_as_input_error(path):
            yield temporary
            # A folder cannot be replaced in one step. If the process ends between these two lines,
            # the old output is lost, which DVC would have deleted before the run anyway.
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders of killed processes from `folder`."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = _TEMPORARY_NAME.fullmatch(path.name)
        if match and not psutil.pid_exists(int(match[1])):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` as indented UTF-8 JSON, with the keys in their order.

    Raises:
        ValueError: a number is NaN or infinite.
        InputError: the disk is full.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def write_csv(path: Path, frame: "DataFrame") -> None:
    """Write `frame` as UTF-8 csv: a header, no index, floats with six significant digits.

    Raises:
        InputError: the disk is full.
    """
    with whole_file(path) as temporary:
        frame.to_csv(
            temporary, index=False, float_format="%.6g", lineterminator="\n", encoding="utf-8"
        )


def _temporary_path(path: Path) -> Path:
    """Return the path of the temporary file for `path`, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def _full_disk_as_input_error(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each library raises its own type of error
        if not _is_full(error, path.parent):
            raise
        raise InputError(
            f"the disk is full: {path} could not be written ({error}): make room there or, for "
            f"temporary files, in {tempfile.gettempdir()}, and run again"
        ) from None


def _is_full(error: Exception, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return shutil.disk_usage(folder).free < _FULL_BYTES
