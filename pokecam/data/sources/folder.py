"""Images in a folder of class folders."""

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from functools import partial
from io import FileIO
from pathlib import Path

from pokecam.common.errors import InputError
from pokecam.data.sources import class_folders


def members(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Read the images in a folder and its subfolders. Links are followed.

    Yields:
        (name in raw.zip, bytes).

    Raises:
        InputError: a file cannot be read, a link leads nowhere, or no image lies in a class folder.
    """
    try:
        yield from class_folders.members(_entries(folder), str(folder))
    except OSError as error:
        raise _read_error(error) from None


def check(folder: Path) -> None:
    """Check that every file of a folder can be read, before DVC computes its hash.

    DVC ends with a message of its own at a link that leads nowhere, and waits for ever at a pipe.

    Raises:
        InputError: a file or folder cannot be read.
    """
    try:
        for path, _ in _files(folder):
            if not os.access(path, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    except OSError as error:
        raise _read_error(error) from None


def _read_error(error: OSError) -> InputError:
    return InputError(
        f"cannot read {error.filename}: {error.strerror}: give yourself the right to read it, or "
        "remove it from the source"
    )


def _entries(folder: Path) -> Iterator[class_folders.Entry]:
    for path, status in _files(folder):
        inside = Path(path).relative_to(folder).as_posix()
        yield class_folders.Entry(inside, status.st_size, partial(FileIO, path))


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and the status of all files below a folder. There may be millions."""
    visited = set()
    for base, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        visited.add(os.path.realpath(base))
        # A link to a folder above it would be followed for ever.
        folders[:] = [name for name in folders if os.path.realpath(Path(base, name)) not in visited]
        for name in names:
            path = os.path.join(base, name)  # noqa: PTH118 (a tenth of the time of a Path)
            try:
                status = os.stat(path)  # noqa: PTH116
            except FileNotFoundError:
                raise _link_error(Path(path), folder) from None
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path} is no ordinary file: remove it from the source")
            yield path, status


def _link_error(link: Path, folder: Path) -> InputError:
    return InputError(
        f"{link} is a link to {link.readlink()}, which does not exist: remove it, or make it lead "
        f"to a file; `find -L {shlex.quote(str(folder))} -type l` lists all such links"
    )


def _raise(error: OSError) -> None:
    raise error
