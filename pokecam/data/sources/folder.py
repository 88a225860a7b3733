"""Images in a folder of class folders."""

import os
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
        InputError: a file cannot be read, or no image lies in a class folder.
    """
    try:
        yield from class_folders.members(_entries(folder), str(folder))
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from None


def _entries(folder: Path) -> Iterator[class_folders.Entry]:
    visited = set()
    for base, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        visited.add(os.path.realpath(base))
        # A link to a folder above it would be followed for ever.
        folders[:] = [name for name in folders if os.path.realpath(Path(base, name)) not in visited]
        for name in names:
            path = Path(base, name)
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path} is no ordinary file: remove it from the source")
            inside = path.relative_to(folder).as_posix()
            yield class_folders.Entry(inside, status.st_size, partial(FileIO, path))


def _raise(error: OSError) -> None:
    raise error
