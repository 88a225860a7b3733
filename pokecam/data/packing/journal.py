"""What `select` has decoded so far, kept so that an interrupted run goes on where it was."""

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

_TOGETHER = 64  # files that are handed to the system at once


class Packable(NamedTuple):
    """One usable file, fitted into its square of S pixels."""

    row: PackedRow
    pixels: np.ndarray  # uint8 (S, S, 3)
    mask: np.ndarray  # uint8 (S, S), 0 throughout where the source has none


class Rejected(NamedTuple):
    """One file that is not used, and why, in plain words."""

    file: str
    reason: str


class Unfinished:
    """A folder with the pixels and masks of the files that are done, in order, and a journal with a
    line for each: `["Class/a.jpg", width, height]` or `["Class/b.jpg", "reason"]`.

    A line is handed to the system after its pixels, so what the journal names is there even if the
    process is killed. `rows` and `rejected` hold all that is done, by earlier runs, too.
    """

    def __init__(self, folder: Path, size_px: int, *, masks: bool) -> None:
        """Go on in `folder`, or begin; `size_px` is the side of the squares, `masks` whether the
        source has any."""
        folder.mkdir(parents=True, exist_ok=True)
        self.rows: list[PackedRow] = []
        self.rejected: list[Rejected] = []
        self._folder = folder
        self._size_px = size_px
        square = (size_px, size_px)
        self._shapes = {"pixels": (*square, 3)} | ({"masks": square} if masks else {})
        self._journal = folder / "journal.jsonl"
        self._waiting: list[str] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Read what is there; a file that an earlier run had not handed over whole is cut off."""
        there = min(NpyRows.count(self._file(name), shape) for name, shape in self._shapes.items())
        known = list(_first(self._journal, there))
        usable = sum(len(line) == 3 for line in known)
        self._arrays = {
            name: self._open.enter_context(NpyRows(self._file(name), shape, kept=usable))
            for name, shape in self._shapes.items()
        }
        self._lines = self._open.enter_context(self._journal.open("w", encoding="utf-8"))
        for line in known:
            self._take(line)
        return self

    def __exit__(self, *_: object) -> None:
        self._hand_over()
        self._open.close()

    @property
    def done(self) -> int:
        """How many files are done."""
        return len(self.rows) + len(self.rejected)

    def add(self, item: Packable | Rejected) -> None:
        """Take the next file."""
        if isinstance(item, Rejected):
            self.rejected.append(item)
            self._note([item.file, item.reason])
        else:
            self.rows.append(item.row)
            for name, array in self._arrays.items():
                array.append((item.pixels if name == "pixels" else item.mask)[None])
            self._note([item.row.file, item.row.width, item.row.height])
        if len(self._waiting) >= _TOGETHER:
            self._hand_over()

    def move(self, kept: Sequence[int], out: Path) -> None:
        """Give the rows with these ascending numbers away as pixels.npy and, if there are masks,
        masks.npy in the folder `out`, and forget everything."""
        self._hand_over()
        if len(kept) < len(self.rows):
            self._journal.unlink()  # from here on the arrays are not what it says
        for array in self._arrays.values():
            array.keep(kept)
        self._open.close()
        for name in self._arrays:
            shutil.move(self._file(name), out)
        shutil.rmtree(self._folder)

    def _take(self, line: list) -> None:
        """Take what an earlier run has noted."""
        if len(line) == 2:
            self.rejected.append(Rejected(*line))
        else:
            file, width, height = line
            place = fit(width, height, self._size_px)
            fitted = self._arrays["pixels"].row(len(self.rows))[inside(place)]
            row = PackedRow(file, width, height, place, fingerprint(Image.fromarray(fitted)))
            self.rows.append(row)
        self._note(line)

    def _note(self, line: list) -> None:
        self._waiting.append(json.dumps(line, ensure_ascii=False) + "\n")

    def _hand_over(self) -> None:
        if self._waiting:
            for array in self._arrays.values():
                array.flush()
            self._lines.write("".join(self._waiting))
            self._lines.flush()
            self._waiting.clear()

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.npy"


def _first(journal: Path, usable: int) -> Iterator[list]:
    """The lines of a journal up to the one for which there are no pixels, or no end."""
    if not journal.exists():
        return
    with journal.open(encoding="utf-8", errors="replace") as lines:
        for text in lines:
            if not text.endswith("\n"):
                return
            line = json.loads(text)
            usable -= len(line) == 3
            if usable < 0:
                return
            yield line
