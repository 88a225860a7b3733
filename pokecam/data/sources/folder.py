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
    """Yield (name in raw.zip, bytes) of the images below `folder`; links are followed.

    Raises `InputError` if a file cannot be read or no image lies in a class folder.
    """
    try:
        yield from class_folders.members(_entries(folder), str(folder))
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from None


def _entries(folder: Path) -> Iterator[class_folders.Entry]:
    seen = set()
    for base, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        seen.add(os.path.realpath(base))
        # A link to a folder above would be walked for ever.
        folders[:] = [name for name in folders if os.path.realpath(Path(base, name)) not in seen]
        for name in names:
            path = Path(base, name)
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise InputError(f"{path} is no ordinary file: take it out of the source")
            inside = path.relative_to(folder).as_posix()
            yield class_folders.Entry(inside, found.st_size, partial(FileIO, path))


def _refuse(error: OSError) -> None:
    raise error
