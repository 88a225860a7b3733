"""A file of which little is read at a time, whatever lengths its headers name."""

import os
from pathlib import Path
from typing import IO

from pokecam.common.errors import InputError


class BoundedFile:
    """An open binary file with a limit on what may be read between two seeks.

    zipfile and tarfile read as many bytes as a header says. They seek before every member.

    Args:
        file: the open file.
        path: its path as the user wrote it, for the message.
        limit_bytes: how many bytes may be read between two seeks.
    """

    def __init__(self, file: IO[bytes], path: Path, limit_bytes: int) -> None:
        self._file = file
        self._path = path
        self._limit_bytes = limit_bytes
        self._read_bytes = 0
        self._size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        self.tell = file.tell
        self.seekable = file.seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position, and count the bytes from 0 again."""
        self._read_bytes = 0
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, or all that remain for -1.

        Raises:
            InputError: these are more bytes than the limit allows.
        """
        allowed = self._limit_bytes - self._read_bytes
        # read() allocates as much memory as it is asked for, even beyond the end of the file.
        remaining = max(0, self._size_bytes - self._file.tell())
        data = self._file.read(min(remaining, allowed + 1, remaining if size < 0 else size))
        self._read_bytes += len(data)
        if len(data) > allowed:
            raise InputError(
                f"{self._path}: a header or the list of members has more than "
                f"{self._limit_bytes // 2**10} KiB: pack the images again with another program, or "
                "unpack them and give the folder"
            )
        return data
