"""Arrays written row by row, without holding them in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

_HEADER_BYTES = 128  # numpy leaves room for any number of rows


class NpyRows:
    """A .npy file of rows of one shape and type that grows at its end.

    Used as a context manager, which closes it; the file is a .npy file from then on. Plain writes,
    unlike a memory map, fail with an error where the disk is full, and not with a signal.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype | type = np.uint8, kept: int = 0
    ) -> None:
        """Open `path`, keeping its first `kept` rows; raises `ValueError` if it has fewer."""
        self._shape = tuple(shape)
        self._dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(shape)) * self._dtype.itemsize
        if kept > (there := self.count(path, shape, dtype)):
            raise ValueError(f"{path} has {there} rows, not {kept}")
        self._file = path.open("r+b" if kept else "w+b")
        self._keep(kept)

    @staticmethod
    def count(path: Path, shape: tuple[int, ...], dtype: np.dtype | type = np.uint8) -> int:
        """How many whole rows an unfinished file has; 0 where there is none."""
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
        """Add rows (n, *shape); raises `ValueError` if their shape or type is another."""
        if rows.shape[1:] != self._shape or rows.dtype != self._dtype:
            raise ValueError(
                f"rows {self._shape} of {self._dtype} are needed, {rows.shape[1:]} of {rows.dtype} "
                "came"
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
        """Hand the rows to the system: they outlive this process."""
        self._file.flush()

    def keep(self, numbers: Sequence[int]) -> None:
        """Drop all rows but those with these ascending numbers, in place."""
        for new, old in enumerate(numbers):
            if new != old:
                self._file.seek(self._start(old))
                row = self._file.read(self._row_bytes)
                self._file.seek(self._start(new))
                self._file.write(row)
        self._keep(len(numbers))

    def _keep(self, count: int) -> None:
        self._count = count
        self._file.truncate(self._start(count))
        self._file.seek(self._start(count))

    def _start(self, number: int) -> int:
        return _HEADER_BYTES + number * self._row_bytes
