"""The packed images that `select` writes and later stages read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pokecam.data.packed.csv_tables import read_table

CORNERS = ["xmin", "ymin", "xmax", "ymax"]  # of a box


@dataclass(frozen=True)
class Packed:
    """The N images of the chosen classes, sorted by class and file.

    S is the parameter `image_size`. A point (x, y) in pixels of the upright original has the packed
    coordinates x_packed = x · scale + left and y_packed = y · scale + top.

    Attributes:
        pixels: (N, S, S, 3) uint8, memory-mapped, read only.
        manifest: one row for each image: file, label, group, width and height of the original,
            left, top, scale. Near-duplicates have the same group.
        classes: the names of the classes, in the order of the class indices.
        masks: (N, S, S) uint8, memory-mapped: 0 or the number of the body part. None if the source
            has no masks.
        parts: label, index, part: the names of the body parts that the numbers in the masks stand
            for. None if the source does not name them.
        boxes: image, label, xmin, ymin, xmax, ymax in packed pixels, or None.
        scenes: image, label, seed and all other sampled values of drawn images, or None.
    """

    pixels: np.ndarray
    manifest: pd.DataFrame
    classes: list[str]
    masks: np.ndarray | None
    parts: pd.DataFrame | None
    boxes: pd.DataFrame | None
    scenes: pd.DataFrame | None

    def boxes_of(self, files: Sequence[str]) -> list[np.ndarray]:
        """Return the boxes of each file.

        Returns:
            For each file an array (k, 4) of `CORNERS` in packed pixels; k is 0 where the source
            has no box of it.
        """
        rows: dict[str, list[list[float]]] = {file: [] for file in files}
        if self.boxes is not None:
            table = self.boxes[self.boxes["image"].isin(rows)]
            corners = table[CORNERS].to_numpy(float).tolist()
            for file, box in zip(table["image"], corners, strict=True):
                rows[file].append(box)
        return [np.array(rows[file], dtype=float).reshape(-1, 4) for file in files]


def load_packed(folder: Path) -> Packed:
    """Open the folder that `select` wrote. Pixels and masks are read when they are used."""
    names = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    masks = folder / "masks.npy"
    return Packed(
        pixels=np.load(folder / "pixels.npy", mmap_mode="r"),
        manifest=read_table(folder / "manifest.csv"),
        classes=names["classes"],
        masks=np.load(masks, mmap_mode="r") if masks.exists() else None,
        parts=_read_table_if_exists(folder / "parts.csv"),
        boxes=_read_table_if_exists(folder / "boxes.csv"),
        scenes=_read_table_if_exists(folder / "scenes.csv"),
    )


def read_lookalikes(path: Path) -> list[list[str]]:
    """Read groups of classes that are easily confused, as `split` writes them."""
    return json.loads(path.read_text(encoding="utf-8"))["groups"]


def _read_table_if_exists(path: Path) -> pd.DataFrame | None:
    return read_table(path) if path.exists() else None
