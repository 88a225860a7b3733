"""Writing data/raw.zip: the same members give the same bytes, on every machine and day."""

from collections.abc import Iterable
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from pokecam.common.files import whole_file
from pokecam.common.progress import counting

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
_UNIX = 3
_MODE = 0o100644 << 16


def write_raw_zip(members: Iterable[tuple[str, bytes]], path: Path) -> int:
    """Write members to an archive.

    They are stored without compression and with a fixed date and mode. The directory of the archive
    is sorted by name. One member is in memory at a time.

    Args:
        members: (name, bytes).
        path: the archive. It is complete, or as it was before.

    Returns:
        The number of members.

    Raises:
        InputError: the disk is full. Exceptions of `members` pass through.
    """
    with (
        whole_file(path) as temporary,
        ZipFile(temporary, "w", ZIP_STORED) as archive,
        counting("raw.zip", None, "members") as count,
    ):
        for name, data in members:
            info = ZipInfo(name, _EPOCH)
            info.create_system = _UNIX
            info.external_attr = _MODE
            archive.writestr(info, data)
            count(1)
        archive.filelist.sort(key=lambda info: info.filename)
        return len(archive.filelist)
