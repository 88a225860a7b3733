"""The tables beside the packed pixels: manifest, duplicates, and those the source brings along."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from zipfile import ZipFile

import numpy as np
import pandas as pd

from pokecam.errors import InputError
from pokecam.images import read_table
from pokecam.packing.duplicates import Fingerprint
from pokecam.packing.geometry import Fit

_CORNERS = ["xmin", "ymin", "xmax", "ymax"]


@dataclass(frozen=True)
class Row:
    """What is known of one packed picture besides its pixels."""

    file: str  # "Class/name.ext"
    width: int  # of the upright original, px
    height: int
    place: Fit
    print: Fingerprint

    @property
    def label(self) -> str:
        return self.file.split("/")[0]


def manifest(rows: Sequence[Row], group: np.ndarray) -> pd.DataFrame:
    """Return one line per packed picture, in the order of the pixels."""
    return pd.DataFrame(
        {
            "file": [row.file for row in rows],
            "label": [row.label for row in rows],
            "group": group,
            "width": [row.width for row in rows],
            "height": [row.height for row in rows],
            "left": [row.place.left for row in rows],
            "top": [row.place.top for row in rows],
            "scale": [row.place.scale for row in rows],
        }
    )


def duplicates(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return file, label, group of the pictures that share their group with another."""
    shared = manifest[manifest.group.duplicated(keep=False)]
    return shared[["file", "label", "group"]].sort_values(["group", "file"])


def read(raw: ZipFile, name: str) -> pd.DataFrame | None:
    """Return a table of raw.zip, None if it has none of that name."""
    if name not in raw.namelist():
        return None
    with raw.open(name) as file:
        try:
            return read_table(file)
        except (ValueError, pd.errors.ParserError) as error:
            raise InputError(f"{name} of the source is not a readable csv: {error}") from None


def packed_boxes(
    boxes: pd.DataFrame, rows: Sequence[Row], all_files: Collection[str]
) -> pd.DataFrame:
    """Return the boxes of the packed pictures, carried from original to packed pixels.

    Raises `InputError` for a missing column, a box without width or height, and a picture that
    the source does not have.
    """
    _check_boxes(boxes, all_files)
    places = pd.DataFrame(
        {
            "image": [row.file for row in rows],
            "scale": [row.place.scale for row in rows],
            "left": [row.place.left for row in rows],
            "top": [row.place.top for row in rows],
        }
    )
    joined = boxes[["image", "label", *_CORNERS]].merge(places, on="image")
    for corner in _CORNERS:
        offset = joined.left if corner.startswith("x") else joined.top
        joined[corner] = joined[corner] * joined.scale + offset
    return joined[["image", "label", *_CORNERS]]


def _check_boxes(boxes: pd.DataFrame, all_files: Collection[str]) -> None:
    missing = [name for name in ("image", "label", *_CORNERS) if name not in boxes]
    if missing:
        raise InputError(
            f"boxes.csv of the source has no column {missing[0]}: the columns are image, label, "
            f"{', '.join(_CORNERS)}"
        )
    unknown = boxes.image[~boxes.image.isin(all_files)]
    if len(unknown):
        raise InputError(
            f"boxes.csv of the source has a box for {unknown.iloc[0]}, which is no picture of the "
            "source: CLASS/name.ext is expected"
        )
    corners = boxes[_CORNERS].apply(pd.to_numeric, errors="coerce")
    sound = (corners.xmin < corners.xmax) & (corners.ymin < corners.ymax)
    if not sound.all():
        raise InputError(
            f"boxes.csv of the source: the box of {boxes.image[~sound].iloc[0]} is not four "
            "numbers xmin < xmax, ymin < ymax in pixels"
        )
