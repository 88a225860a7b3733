"""Arrays that are written to disk row by row, so that they need not fit into memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

_HEADER_BYTES = 128  # numpy's header has this length for any number of rows


class NpyRows:
    """A .npy file of rows of one shape and type, to which rows are appended.

    It is a context manager. At the end of the context it writes the header and closes the file,
    which is a valid .npy file from then on.

    It uses plain writes. On a full disk they raise an error, while a memory map would end the
    process by a signal.

    Args:
        path: the file.
        shape: the shape of one row.
        dtype: the type of the values.
        n_keep: how many rows of an existing file are n_rows. 0 begins a new file.

    Raises:
        ValueError: the file has fewer rows than `n_keep`.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype | type = np.uint8, n_keep: int = 0
    ) -> None:
        self._shape = tuple(shape)
        self._dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(shape)) * self._dtype.itemsize
        n_present = self.count_rows(path, shape, dtype)
        if n_present < n_keep:
            raise ValueError(f"{path} has {n_present} rows, not {n_keep}")
        self._file = path.open("r+b" if n_keep else "w+b")
        self._truncate(n_keep)

    @staticmethod
    def count_rows(path: Path, shape: tuple[int, ...], dtype: np.dtype | type = np.uint8) -> int:
        """Return the number of complete rows in an unfinished file, 0 if it does not exist."""
        if not path.exists():
            return 0
        row_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return max(0, path.stat().st_size - _HEADER_BYTES) // row_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            header = {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._count, *self._shape),
            }
            np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, rows: np.ndarray) -> None:
        """Append rows.

        Args:
            rows: (n, *shape).

        Raises:
            ValueError: the shape or the type of the rows is not that of the file.
        """
        if rows.shape[1:] != self._shape or rows.dtype != self._dtype:
            raise ValueError(
                f"rows {rows.shape[1:]} of {rows.dtype} were given, {self._shape} of {self._dtype} "
                "are needed"
            )
        self._file.write(np.ascontiguousarray(rows).data)
        self._count += len(rows)

    def row(self, number: int) -> np.ndarray:
        """Return one row (*shape)."""
        end = self._file.tell()
        self._file.seek(self._start(number))
        row = np.frombuffer(self._file.read(self._row_bytes), self._dtype).reshape(self._shape)
        self._file.seek(end)
        return row

    def flush(self) -> None:
        """Hand the rows to the operating system. They are then safe if this process is killed."""
        self._file.flush()

    def keep(self, numbers: Sequence[int]) -> None:
        """Keep the rows with these ascending numbers, and remove all others, in place."""
        for new, old in enumerate(numbers):
            if new != old:
                self._file.seek(self._start(old))
                row = self._file.read(self._row_bytes)
                self._file.seek(self._start(new))
                self._file.write(row)
        self._truncate(len(numbers))

    def _truncate(self, n_rows: int) -> None:
        """Cut the file after `n_rows` rows, and continue there."""
        self._count = n_rows
        self._file.truncate(self._start(n_rows))
        self._file.seek(self._start(n_rows))

    def _start(self, number: int) -> int:
        """Return the position of a row in the file, in bytes."""
        return _HEADER_BYTES + number * self._row_bytes
