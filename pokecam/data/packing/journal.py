"""The work that `select` has done so far, on disk, so that an interrupted run can continue."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from pokecam.data.packed.letterbox import fit, inside
from pokecam.data.packed.npy_rows import NpyRows
from pokecam.data.packing.duplicates import fingerprint
from pokecam.data.packing.tables import PackedRow

_LINES_PER_FLUSH = 64


class UsableImage(NamedTuple):
    """One usable file, letterboxed to a square of side S."""

    row: PackedRow
    pixels: np.ndarray  # uint8 (S, S, 3)
    mask: np.ndarray  # uint8 (S, S), all zeros where the source has none


class RejectedFile(NamedTuple):
    """One file that is not used, and the reason in plain words."""

    file: str
    reason: str


class UnfinishedWork:
    """A folder with the pixels and masks of all files that are done, and a journal.

    The journal has one line for each file, in order: `["Class/a.jpg", width, height]` or
    `["Class/b.jpg", "reason"]`. A line is handed to the system after its pixels. The pixels of
    every line are therefore on disk, even if the process is killed.

    Used as a context manager: `__enter__` reads what an earlier run has done.

    Args:
        folder: is created if it does not exist.
        size_px: side S of the packed images.
        masks: whether the source has any masks.

    Attributes:
        rows: the usable images, those of earlier runs included.
        rejected: the files that are not used, those of earlier runs included.
    """

    def __init__(self, folder: Path, size_px: int, *, masks: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rows: list[PackedRow] = []
        self.rejected: list[RejectedFile] = []
        self._folder = folder
        self._size_px = size_px
        square = (size_px, size_px)
        self._shapes = {"pixels": (*square, 3)} | ({"masks": square} if masks else {})
        self._journal = folder / "journal.jsonl"
        self._unwritten: list[str] = []
        self._open_files = ExitStack()

    def __enter__(self) -> Self:
        """Read the work of an earlier run. A file that it had not written whole is cut off."""
        n_rows = min(
            NpyRows.count_rows(self._path(name), shape) for name, shape in self._shapes.items()
        )
        lines = list(_complete_lines(self._journal, n_rows))
        n_usable = sum(len(line) == 3 for line in lines)
        self._arrays = {
            name: self._open_files.enter_context(NpyRows(self._path(name), shape, n_keep=n_usable))
            for name, shape in self._shapes.items()
        }
        self._file = self._open_files.enter_context(self._journal.open("w", encoding="utf-8"))
        for line in lines:
            self._restore(line)
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._open_files.close()

    @property
    def n_done(self) -> int:
        """The number of files that are done."""
        return len(self.rows) + len(self.rejected)

    def add(self, item: UsableImage | RejectedFile) -> None:
        """Add the next file."""
        if isinstance(item, RejectedFile):
            self.rejected.append(item)
            self._write([item.file, item.reason])
        else:
            self.rows.append(item.row)
            for name, array in self._arrays.items():
                array.append((item.pixels if name == "pixels" else item.mask)[None])
            self._write([item.row.file, item.row.width, item.row.height])
        if len(self._unwritten) >= _LINES_PER_FLUSH:
            self._flush()

    def move(self, numbers: Sequence[int], out: Path) -> None:
        """Move the arrays to a folder and delete everything else.

        Args:
            numbers: the rows that pixels.npy and masks.npy keep, ascending.
            out: the folder that gets pixels.npy and, if the source has masks, masks.npy.
        """
        self._flush()
        if len(numbers) < len(self.rows):
            self._journal.unlink()  # it does not describe the arrays from here on
        for array in self._arrays.values():
            array.keep(numbers)
        self._open_files.close()
        for name in self._arrays:
            shutil.move(self._path(name), out)
        shutil.rmtree(self._folder)

    def _restore(self, line: list) -> None:
        """Add a file that an earlier run has done."""
        if len(line) == 2:
            self.rejected.append(RejectedFile(*line))
        else:
            file, width, height = line
            placement = fit(width, height, self._size_px)
            fitted = self._arrays["pixels"].row(len(self.rows))[inside(placement)]
            row = PackedRow(file, width, height, placement, fingerprint(Image.fromarray(fitted)))
            self.rows.append(row)
        self._write(line)

    def _write(self, line: list) -> None:
        self._unwritten.append(json.dumps(line, ensure_ascii=False) + "\n")

    def _flush(self) -> None:
        """Hand the pixels to the system, then the lines of the journal."""
        if self._unwritten:
            for array in self._arrays.values():
                array.flush()
            self._file.write("".join(self._unwritten))
            self._file.flush()
            self._unwritten.clear()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npy"


def _complete_lines(journal: Path, n_rows: int) -> Iterator[list]:
    """Yield the lines of a journal up to the first that is cut off or has no row of pixels."""
    if not journal.exists():
        return
    with journal.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            if not text.endswith("\n"):
                return
            line = json.loads(text)
            n_rows -= len(line) == 3
            if n_rows < 0:
                return
            yield line
