"""A file of which nobody reads much at a time, whatever the lengths written in it."""

import os
from pathlib import Path
from typing import IO

from pokecam.common.errors import InputError


class Bounded:
    """An open binary file for zipfile and tarfile, which read as many bytes as a header says.

    `limit_bytes` is how many may be read between two seeks, of which there is one before every
    member. `path` is what the user gave, for the message.
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
        """Go to a place, and count from 0 again."""
        self._read_bytes = 0
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, for -1 all there are; raises `InputError` if that is more
        than may be."""
        left = self._limit_bytes - self._read_bytes
        # Room is made for as much as is asked for, so ask for no more than there is.
        there = max(0, self._size_bytes - self._file.tell())
        data = self._file.read(min(there, left + 1, there if size < 0 else size))
        self._read_bytes += len(data)
        if len(data) > left:
            raise InputError(
                f"{self._path}: a header or the list of members has more than "
                f"{self._limit_bytes // 2**10} KiB: pack the images again in an ordinary way, "
                "or unpack them and give the folder"
            )
        return data
