"""Images in a .zip, .tar or .tar.gz of class folders, which may come from a stranger.

Nothing is unpacked to disk under a name of the archive's choosing; the only file written is an
anonymous temporary one that holds a gunzipped tar.
"""

import errno
import gzip
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

from pokecam.common.errors import InputError
from pokecam.data.sources import class_folders
from pokecam.data.sources.bounded_file import Bounded

# What unpacks to more than this is a decompression bomb, not a set of images.
MAX_RATIO = 100
ALWAYS_ALLOWED_BYTES = 2**30
MAX_TOTAL_BYTES = 64 * 2**30
# All that is known of the members is in memory at once, about 1.5 kB each.
MAX_MEMBERS = 200_000
# A zip lists its members in one piece, which is read before they can be counted.
MAX_ZIP_LIST_BYTES = 32 * 2**20
# In a tar each has a header of its own; extended ones can have any size.
MAX_TAR_HEADER_BYTES = 2**20

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,  # a newer kind of zip than zipfile knows
    struct.error,
    ValueError,  # numbers and names in headers that are none
    OverflowError,  # … or too large for any file
    RecursionError,  # headers about headers about headers in a tar
)
_AES = 99  # the "compression" of an encrypted member
# The others are unpacked in one go, however large: bzip2 makes a million zeros of one byte.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # a member, a member strongly, the list of members
_IS_UTF8 = 0x800
_TOLD_CHARACTERS = 200

_Opened = Callable[[Path], AbstractContextManager[Iterable[class_folders.Entry]]]


def members(path: Path, opened: _Opened) -> Iterator[tuple[str, bytes]]:
    """Yield (name in raw.zip, bytes) of the images in the archive `path`.

    `opened` is `zip_entries` or `tar_entries`. Raises `InputError` if the archive is damaged, is
    encrypted, unpacks to more than the limits above or has more members, holds links or devices
    or names that lead out of it, or has no image in a class folder.
    """
    try:
        with opened(path) as entries:
            yield from class_folders.members(entries, str(path))
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # there is no such place in the file
            raise
        raise _damaged(path, error) from None


@contextmanager
def zip_entries(path: Path) -> Iterator[list[class_folders.Entry]]:
    """Open a zip archive; give its files, all names and sizes checked."""
    with (
        path.open("rb") as file,
        zipfile.ZipFile(Bounded(file, path, MAX_ZIP_LIST_BYTES)) as archive,  # type: ignore[arg-type]
    ):
        infos = archive.infolist()
        _check_count(path, len(infos))
        infos = [info for info in infos if not info.orig_filename.endswith("/")]
        for info in infos:
            _check_zipped(path, info)
        _check_total(path, sum(info.file_size for info in infos))
        yield [
            class_folders.Entry(
                _inside(path, _name(info)), info.file_size, partial(archive.open, info)
            )
            for info in infos
        ]


@contextmanager
def tar_entries(path: Path) -> Iterator[list[class_folders.Entry]]:
    """Open a tar archive, gzipped or not; give its files, all names and sizes checked."""
    with _gunzipped(path) as plain:
        headers = Bounded(plain, path, MAX_TAR_HEADER_BYTES)
        archive = tarfile.TarFile(fileobj=headers)  # type: ignore[arg-type]
        infos = list(_files(path, archive, headers))
        _check_total(path, sum(info.size for info in infos))
        yield [
            class_folders.Entry(
                _inside(path, info.name), info.size, partial(_open_member, archive, info)
            )
            for info in infos
        ]


def _check_zipped(path: Path, info: zipfile.ZipInfo) -> None:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _hostile(path, info.filename, "is a link or a device")
    if info.flag_bits & _ENCRYPTED or info.compress_type == _AES:
        raise InputError(f"{path} is encrypted: unpack it with its password and pack again")
    if info.compress_type not in _COMPRESSIONS:
        raise InputError(
            f"{path} is compressed by an unusual method (number {info.compress_type}), stored or "
            "deflated members are read: unpack it and give the folder"
        )


def _name(info: zipfile.ZipInfo) -> str:
    """The member's name, with what is after a NUL, which `filename` lacks; and as UTF-8, if it
    can be: a Mac writes that without saying so, and would be read as code page 437."""
    if info.flag_bits & _IS_UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.orig_filename


def _files(path: Path, archive: tarfile.TarFile, headers: Bounded) -> Iterator[tarfile.TarInfo]:
    """The members that are no folders, checked, each with no more than reading it takes."""
    count = 0
    while (info := archive.next()) is not None:
        # tarfile keeps every header, and gives what all members are said to share to each.
        archive.members.clear()  # type: ignore[attr-defined]
        archive.pax_headers = {}
        headers.seek(headers.tell())  # a member without content needs no other seek
        count += 1
        _check_count(path, count)
        if info.size < 0:
            raise tarfile.ReadError("a size below 0")
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise _hostile(path, info.name, "is a link, a device or sparse")
        slim = tarfile.TarInfo(class_folders.checked(info.name))
        slim.size, slim.offset_data = info.size, info.offset_data
        yield slim


def is_zip(path: Path) -> bool:
    """True if the file begins as a zip archive does."""
    return _head(path, 4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_tar(path: Path) -> bool:
    """True if the file begins as a tar archive or anything gzipped does."""
    head = _head(path, 262)
    return _is_gzip(head) or head[257:] == b"ustar"


def _head(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _is_gzip(head: bytes) -> bool:
    return head[:2] == b"\x1f\x8b"


def _open_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None, "only directories and devices have no content"
    return file


@contextmanager
def _gunzipped(path: Path) -> Iterator[IO[bytes]]:
    """The tar itself, seekable: the images are wanted in another order than they lie there."""
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
        if _is_gzip(plain.read(2)):
            raise InputError(f"{path} is gzipped twice: unpack it with gunzip and give the result")
        plain.seek(0)
        yield plain


def _check_count(path: Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise InputError(
            f"{path} has more than {MAX_MEMBERS} members, which is as many as are read from an "
            "archive: unpack it and give the folder"
        )


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
        f"{path}: the member {class_folders.shortened(name)} {fault}; such an archive is not read: "
        "pack the images as ordinary files"
    )


def _damaged(path: Path, error: Exception) -> InputError:
    told = " ".join(str(error).split())[:_TOLD_CHARACTERS]  # may hold names from headers
    return InputError(
        f"{path} is damaged or not an archive we can read ({told}): fetch or pack it again"
    )
