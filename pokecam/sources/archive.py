"""Pictures in a .zip, .tar or .tar.gz of class folders, which may come from a stranger.

Nothing is unpacked to disk under a name of the archive's choosing; the only file written is an
anonymous temporary one that holds a gunzipped tar.
"""

import gzip
import os
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from pokecam.errors import InputError
from pokecam.sources import tree

# What unpacks to more than this is a decompression bomb, not a set of pictures.
MAX_RATIO = 100
ALWAYS_ALLOWED_BYTES = 2**30
MAX_TOTAL_BYTES = 64 * 2**30

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
    struct.error,
    UnicodeDecodeError,
)

_Opened = Callable[[Path], AbstractContextManager[Iterable[tree.Entry]]]


def members(path: Path, opened: _Opened) -> Iterator[tuple[str, bytes]]:
    """Yield (name in raw.zip, bytes) of the pictures in the archive `path`.

    `opened` is `zip_entries` or `tar_entries`. Raises `InputError` if the archive is damaged, is
    encrypted, unpacks to more than the limits above, holds links or devices or names that
    lead out of it, or has no picture in a class folder.
    """
    try:
        with opened(path) as entries:
            yield from tree.members(entries, str(path))
    except _DAMAGE as error:
        raise InputError(
            f"{path} is damaged or not an archive we can read ({error}): fetch or pack it again"
        ) from None


@contextmanager
def zip_entries(path: Path) -> Iterator[list[tree.Entry]]:
    """Open a zip archive; give its files, all names and sizes checked."""
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.orig_filename.endswith("/")]
        for info in infos:
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _hostile(path, info.filename, "is a link")
            if info.flag_bits & 1:
                raise InputError(f"{path} is encrypted: unpack it with its password and pack again")
        _check_total(path, sum(info.file_size for info in infos))
        yield [
            # ZipInfo cuts a name at a NUL; the original still has it.
            tree.Entry(
                _inside(path, info.orig_filename), info.file_size, partial(archive.open, info)
            )
            for info in infos
        ]


@contextmanager
def tar_entries(path: Path) -> Iterator[list[tree.Entry]]:
    """Open a tar archive, gzipped or not; give its files, all names and sizes checked."""
    with _gunzipped(path) as plain, tarfile.open(fileobj=plain, mode="r:") as archive:
        infos = [info for info in archive if not info.isdir()]
        for info in infos:
            if not info.isreg():
                raise _hostile(path, info.name, "is a link or a device")
        _check_total(path, sum(info.size for info in infos))
        yield [
            tree.Entry(_inside(path, info.name), info.size, partial(_open_member, archive, info))
            for info in infos
        ]


def is_zip(path: Path) -> bool:
    """True if the file begins as a zip archive does."""
    return _head(path, 4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_tar(path: Path) -> bool:
    """True if the file begins as a tar archive or anything gzipped does."""
    head = _head(path, 262)
    return _is_gzip(head) or head[257:] == b"ustar"


def _head(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _is_gzip(head: bytes) -> bool:
    return head[:2] == b"\x1f\x8b"


def _open_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None, "only directories and devices have no content"
    return file


@contextmanager
def _gunzipped(path: Path) -> Iterator[IO[bytes]]:
    """The tar itself, seekable: the pictures are wanted in another order than they lie there."""
    if not _is_gzip(_head(path, 2)):
        with path.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as plain:
        total = 0
        with gzip.open(path) as packed:
            while chunk := packed.read(2**20):
                total += len(chunk)
                _check_total(path, total)
                plain.write(chunk)
        plain.seek(0)
        yield plain


def _check_total(path: Path, total_bytes: int) -> None:
    allowed = max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * path.stat().st_size)
    if total_bytes > min(allowed, MAX_TOTAL_BYTES):
        raise InputError(
            f"{path} unpacks to {total_bytes / 2**30:.1f} GiB or more, over {MAX_RATIO} times its "
            f"size or {MAX_TOTAL_BYTES >> 30} GiB: a decompression bomb? Unpack it yourself and "
            "give the folder"
        )


def _inside(path: Path, name: str) -> str:
    """Return the member's path with "/" and without "." steps, if it stays inside the archive."""
    if "\0" in name:
        raise _hostile(path, name, "holds a NUL")
    name = name.replace("\\", "/")
    steps = name.split("/")
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in steps:
        raise _hostile(path, name, "leads out of the archive")
    inside = "/".join(step for step in steps if step not in ("", "."))
    if not inside:
        raise _hostile(path, name, "has no name")
    return inside


def _hostile(path: Path, name: str, fault: str) -> InputError:
    return InputError(
        f"{path}: the member {os.fsencode(name)!r} {fault}; such an archive is not read: "
        "pack the pictures as ordinary files"
    )
