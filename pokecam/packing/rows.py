"""Rows of pixels written as they come, without holding them in memory."""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np


class Rows:
    """uint8 rows of one shape, appended to a scratch file; `save` copies the ones to keep.

    Which rows stay is known only after the last one has been compared with all others, so they
    cannot go to their final place at once. Used as a context manager, which removes the scratch.
    """

    def __init__(self, scratch: Path, shape: tuple[int, ...]) -> None:
        self._path = scratch
        self._shape = shape
        self._file = scratch.open("w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink()

    def append(self, row: np.ndarray) -> None:
        """Add one row; raises `ValueError` if its shape or type is another."""
        if row.shape != self._shape or row.dtype != np.uint8:
            raise ValueError(f"a uint8 row {self._shape} is needed, {row.dtype} {row.shape} came")
        self._file.write(row.tobytes())

    def save(self, path: Path, kept: Iterable[int]) -> None:
        """Write the rows numbered `kept`, in that order, as a .npy array (n, *shape)."""
        kept = list(kept)
        row_bytes = int(np.prod(self._shape))
        with path.open("wb") as out:
            np.lib.format.write_array_header_1_0(
                out,
                {"descr": "|u1", "fortran_order": False, "shape": (len(kept), *self._shape)},
            )
            for number in kept:
                self._file.seek(number * row_bytes)
                out.write(self._file.read(row_bytes))
