"""Images in a .zip, .tar or .tar.gz of class folders, which may come from anywhere.

No file is unpacked to disk under a name from the archive. The only file on disk is an anonymous
temporary one, for a tar that was gzipped.
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
from pokecam.data.sources.bounded_file import BoundedFile

# An archive that unpacks to more than this is a decompression bomb, not a set of images.
MAX_RATIO = 100
ALWAYS_ALLOWED_BYTES = 2**30
MAX_TOTAL_BYTES = 64 * 2**30
# The descriptions of all members are in memory at once, about 1.5 kB each.
MAX_MEMBERS = 200_000
# A zip lists its members in one piece, which is read before they can be counted.
MAX_ZIP_LIST_BYTES = 32 * 2**20
# In a tar each member has a header. Extended headers can have any size.
MAX_TAR_HEADER_BYTES = 2**20

_DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,  # a newer version of zip than zipfile reads
    struct.error,
    ValueError,  # numbers and names in headers that are invalid
    OverflowError,  # … or too large for any file
    RecursionError,  # extended headers in a tar, each followed by another one
)
_AES = 99  # the "compression" of an encrypted member
# zipfile unpacks a member of another method in one piece of any size. With bzip2, one byte can hold
# a million zeros.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # a member, a member with strong encryption, the list of members
_IS_UTF8 = 0x800
_MAX_REASON_CHARACTERS = 200

_OpenEntries = Callable[[Path], AbstractContextManager[Iterable[class_folders.Entry]]]


def members(path: Path, open_entries: _OpenEntries) -> Iterator[tuple[str, bytes]]:
    """Read the images in an archive.

    Args:
        path: the archive.
        open_entries: `zip_entries` or `tar_entries`.

    Yields:
        (name in raw.zip, bytes).

    Raises:
        InputError: the archive is damaged or encrypted, is larger or has more members than the
            limits above, holds links, devices, or names that lead out of it, or has no image in a
            class folder.
    """
    try:
        with open_entries(path) as entries:
            yield from class_folders.members(entries, str(path))
    except _DAMAGE_ERRORS as error:
        raise _damage_error(path, error) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a header names a position that no file has
            raise
        raise _damage_error(path, error) from None


@contextmanager
def zip_entries(path: Path) -> Iterator[list[class_folders.Entry]]:
    """Open a zip archive.

    Yields:
        Its files. All names and sizes are checked.
    """
    with (
        path.open("rb") as file,
        zipfile.ZipFile(BoundedFile(file, path, MAX_ZIP_LIST_BYTES)) as archive,  # type: ignore[arg-type]
    ):
        infos = archive.infolist()
        _check_count(path, len(infos))
        infos = [info for info in infos if not info.orig_filename.endswith("/")]
        for info in infos:
            _check_zip_member(path, info)
        _check_total(path, sum(info.file_size for info in infos))
        yield [
            class_folders.Entry(
                _path_inside(path, _member_name(info)), info.file_size, partial(archive.open, info)
            )
            for info in infos
        ]


@contextmanager
def tar_entries(path: Path) -> Iterator[list[class_folders.Entry]]:
    """Open a tar archive, gzipped or not.

    Yields:
        Its files. All names and sizes are checked.
    """
    with _open_tar_file(path) as file:
        headers = BoundedFile(file, path, MAX_TAR_HEADER_BYTES)
        archive = tarfile.TarFile(fileobj=headers)  # type: ignore[arg-type]
        infos = list(_tar_members(path, archive, headers))
        _check_total(path, sum(info.size for info in infos))
        yield [
            class_folders.Entry(
                _path_inside(path, info.name), info.size, partial(_open_tar_member, archive, info)
            )
            for info in infos
        ]


def _check_zip_member(path: Path, info: zipfile.ZipInfo) -> None:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _member_error(path, info.filename, "is a link or a device")
    if info.flag_bits & _ENCRYPTED or info.compress_type == _AES:
        raise InputError(f"{path} is encrypted: unpack it with its password and pack it again")
    if info.compress_type not in _COMPRESSIONS:
        raise InputError(
            f"{path} is compressed by an unusual method (number {info.compress_type}), only stored "
            "and deflated members are read: unpack it and give the folder"
        )


def _member_name(info: zipfile.ZipInfo) -> str:
    """Return the complete name of a member, decoded as UTF-8 where that is possible.

    `filename` ends at a NUL, `orig_filename` does not. A Mac writes UTF-8 without the flag for it,
    so zipfile decodes the name as code page 437.
    """
    if info.flag_bits & _IS_UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.orig_filename


def _tar_members(
    path: Path, archive: tarfile.TarFile, headers: BoundedFile
) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a tar, checked, each with only the fields that are needed to read it."""
    count = 0
    while (info := archive.next()) is not None:
        # tarfile keeps every header, and adds the values that all members share to each of them.
        archive.members.clear()  # type: ignore[attr-defined]
        archive.pax_headers = {}
        headers.seek(headers.tell())  # tarfile does not seek after a member without content
        count += 1
        _check_count(path, count)
        if info.size < 0:
            raise tarfile.ReadError("a size below 0")
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise _member_error(path, info.name, "is a link, a device or sparse")
        member = tarfile.TarInfo(class_folders.check_path(info.name))
        member.size, member.offset_data = info.size, info.offset_data
        yield member


def is_zip(path: Path) -> bool:
    """Return whether a file begins as a zip archive does."""
    return _read_head(path, 4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_tar(path: Path) -> bool:
    """Return whether a file begins as a tar archive or a gzipped file does."""
    head = _read_head(path, 262)
    return _is_gzip(head) or head[257:] == b"ustar"


def _read_head(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _is_gzip(head: bytes) -> bool:
    return head[:2] == b"\x1f\x8b"


def _open_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None, "only directories and devices have no content"
    return file


@contextmanager
def _open_tar_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a tar, gunzipped if needed. It is seekable, because images are read in another order."""
    if not _is_gzip(_read_head(path, 2)):
        with path.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as gunzipped:
        total = 0
        with gzip.open(path) as packed:
            while chunk := packed.read(2**20):
                total += len(chunk)
                _check_total(path, total)
                gunzipped.write(chunk)
        gunzipped.seek(0)
        if _is_gzip(gunzipped.read(2)):
            raise InputError(f"{path} is gzipped twice: unpack it with gunzip and give the result")
        gunzipped.seek(0)
        yield gunzipped


def _check_count(path: Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise InputError(
            f"{path} has more than {MAX_MEMBERS} members, the largest number that is read from an "
            "archive: unpack it and give the folder"
        )


def _check_total(path: Path, total_bytes: int) -> None:
    allowed = max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * path.stat().st_size)
    if total_bytes > min(allowed, MAX_TOTAL_BYTES):
        raise InputError(
            f"{path} unpacks to {total_bytes / 2**30:.1f} GiB or more, which is over {MAX_RATIO} "
            f"times its size or over {MAX_TOTAL_BYTES >> 30} GiB, as in a decompression bomb: if "
            "you trust it, unpack it and give the folder"
        )


def _path_inside(path: Path, name: str) -> str:
    """Return the path of a member inside the archive, with "/" and without "." steps."""
    if "\0" in name:
        raise _member_error(path, name, "holds a NUL")
    name = name.replace("\\", "/")
    steps = name.split("/")
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in steps:
        raise _member_error(path, name, "leads out of the archive")
    inside = "/".join(step for step in steps if step not in ("", "."))
    if not inside:
        raise _member_error(path, name, "has no name")
    return inside


def _member_error(path: Path, name: str, fault: str) -> InputError:
    return InputError(
        f"{path}: the member {class_folders.shorten(name)} {fault}, such an archive is not read: "
        "pack the images as ordinary files"
    )


def _damage_error(path: Path, error: Exception) -> InputError:
    # The text of the error may hold long names from headers.
    reason = " ".join(str(error).split())[:_MAX_REASON_CHARACTERS]
    return InputError(
        f"{path} is damaged or not an archive that can be read ({reason}): download or pack it "
        "again"
    )
