"""The packed images that `select` writes and later stages read."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pokecam.data.packed.csv_tables import read_table


@dataclass(frozen=True)
class Packed:
    """The chosen images, one row each, sorted by class and file; S is `image_size`.

    Packed pixel coordinates are x_packed = x · scale + left and y_packed = y · scale + top, with
    x and y in pixels of the (upright) original.
    """

    pixels: np.ndarray  # uint8 (N, S, S, 3), memory-mapped, read only
    manifest: pd.DataFrame  # file, label, group, width, height (of the original), left, top, scale
    classes: list[str]  # the order of class indices everywhere
    lookalikes: list[list[str]]
    masks: np.ndarray | None  # uint8 (N, S, S), memory-mapped: 0 or the number of the body part
    parts: pd.DataFrame | None  # label, index, part: what the numbers in masks mean
    boxes: pd.DataFrame | None  # image, label, xmin, ymin, xmax, ymax in packed pixels
    scenes: pd.DataFrame | None  # image, label, seed and all else that chance decided (drawn)


def load_packed(folder: Path) -> Packed:
    """Open the folder that `select` wrote; pixels are read when they are used."""
    names = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    masks = folder / "masks.npy"
    return Packed(
        pixels=np.load(folder / "pixels.npy", mmap_mode="r"),
        manifest=read_table(folder / "manifest.csv"),
        classes=names["classes"],
        lookalikes=names["lookalikes"],
        masks=np.load(masks, mmap_mode="r") if masks.exists() else None,
        parts=_table_if_there(folder / "parts.csv"),
        boxes=_table_if_there(folder / "boxes.csv"),
        scenes=_table_if_there(folder / "scenes.csv"),
    )


def _table_if_there(path: Path) -> pd.DataFrame | None:
    return read_table(path) if path.exists() else None
