"""The tables of the packed images: manifest, duplicates, and the tables of the source."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from zipfile import ZipFile

import numpy as np
import pandas as pd

from pokecam.common.errors import InputError
from pokecam.data.packed.csv_tables import read_foreign, read_table
from pokecam.data.packed.letterbox import Fit
from pokecam.data.packing.duplicates import Fingerprint
from pokecam.data.sources.names import normalise_name

_CORNERS = ["xmin", "ymin", "xmax", "ymax"]
_BOXES = "boxes.csv"  # the only table that sources other than `drawn` can have
_BOXES_IN_MESSAGES = "boxes.csv of the source"


@dataclass(frozen=True)
class PackedRow:
    """One packed image, without its pixels.

    Attributes:
        file: "Class/name.ext".
        width: of the upright original, in px.
        height: likewise.
        placement: where the image lies in its square.
        fingerprint: to compare it with other images.
    """

    file: str
    width: int
    height: int
    placement: Fit
    fingerprint: Fingerprint

    @property
    def label(self) -> str:
        """The class."""
        return self.file.split("/")[0]


def manifest(rows: Sequence[PackedRow], groups: np.ndarray) -> pd.DataFrame:
    """Return the manifest: one row for each packed image, in the order of the pixels.

    Args:
        rows: N images.
        groups: (N,) int, the group of near-duplicates of each.

    Returns:
        file, label, group, width, height, left, top, scale. The last three say where the image
        lies in its square, as in `letterbox.Fit`.
    """
    return pd.DataFrame(
        {
            "file": [row.file for row in rows],
            "label": [row.label for row in rows],
            "group": groups,
            "width": [row.width for row in rows],
            "height": [row.height for row in rows],
            "left": [row.placement.left for row in rows],
            "top": [row.placement.top for row in rows],
            "scale": [row.placement.scale for row in rows],
        }
    )


def duplicates(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return file, label and group of all images that share their group with another."""
    rows = manifest[manifest.group.duplicated(keep=False)]
    return rows[["file", "label", "group"]].sort_values(["group", "file"])


def read_source_table(raw: ZipFile, name: str) -> pd.DataFrame | None:
    """Read a table of the source.

    Args:
        raw: the open raw.zip.
        name: the name of the table in it.

    Returns:
        The table, or None if the source has no such table. The values of boxes.csv, which users
        write themselves, are text.

    Raises:
        InputError: boxes.csv is not a csv file with the expected columns.
    """
    if name not in raw.namelist():
        return None
    if name == _BOXES:
        boxes = read_foreign(raw.read(name), _BOXES_IN_MESSAGES, ["image", "label", *_CORNERS])
        return boxes.assign(
            image=boxes.image.map(_normalise_file), label=boxes.label.map(normalise_name)
        )
    with raw.open(name) as file:
        return read_table(file)


def _normalise_file(file: str) -> str:
    return "/".join(map(normalise_name, file.split("/")))


def packed_boxes(
    boxes: pd.DataFrame, rows: Sequence[PackedRow], all_files: Collection[str]
) -> pd.DataFrame:
    """Convert boxes from original to packed pixels.

    A box is cut at the borders of its image. A box that is listed twice counts once.

    Args:
        boxes: image, label, xmin, ymin, xmax, ymax, as text.
        rows: the packed images.
        all_files: all files of the source, in the form "Class/name.ext".

    Returns:
        The boxes of the packed images: the same columns, corners as numbers.

    Raises:
        InputError: the source does not have the image of a box, or has it in another class than
            the box; the corners of a box are not finite numbers with xmin < xmax and
            ymin < ymax; or a box lies outside its image.
    """
    boxes = _parse_boxes(boxes, all_files)
    placements = pd.DataFrame(
        {
            "image": [row.file for row in rows],
            "width": [row.width for row in rows],
            "height": [row.height for row in rows],
            "scale": [row.placement.scale for row in rows],
            "left": [row.placement.left for row in rows],
            "top": [row.placement.top for row in rows],
        }
    )
    joined = boxes.merge(placements, on="image").drop_duplicates()
    for lower, upper, side in (("xmin", "xmax", "width"), ("ymin", "ymax", "height")):
        is_outside = (joined[upper] <= 0) | (joined[lower] >= joined[side])
        if is_outside.any():
            raise InputError(_outside_message(joined[is_outside].iloc[0]))
        for corner in (lower, upper):
            offset = joined.left if side == "width" else joined.top
            joined[corner] = joined[corner].clip(0, joined[side]) * joined.scale + offset
    return joined[["image", "label", *_CORNERS]]


def _parse_boxes(boxes: pd.DataFrame, all_files: Collection[str]) -> pd.DataFrame:
    """Check the boxes and convert their corners from text to numbers."""
    unknown = boxes.image[~boxes.image.isin(all_files)]
    if len(unknown):
        raise InputError(
            f"{_BOXES_IN_MESSAGES} has a box for {unknown.iloc[0]!r}, which is not an image of the "
            "source: write images as CLASS/name.ext"
        )
    mismatches = boxes[boxes.image.str.split("/").str[0] != boxes.label]
    if len(mismatches):
        row = mismatches.iloc[0]
        raise InputError(
            f"{_BOXES_IN_MESSAGES} has the label {row.label!r} for {row.image}: the label of a "
            "box must be the class of its image; remove boxes of other objects"
        )
    corners = boxes[_CORNERS].apply(pd.to_numeric, errors="coerce").astype(float)
    is_valid = (corners.xmin < corners.xmax) & (corners.ymin < corners.ymax)
    is_valid &= np.isfinite(corners).all(axis=1)
    if not is_valid.all():
        row = boxes[~is_valid].iloc[0]
        raise InputError(
            f"{_BOXES_IN_MESSAGES}: the box of {row.image} is {', '.join(row[_CORNERS])}, not four "
            "numbers xmin < xmax, ymin < ymax in pixels, with a point before decimals"
        )
    return boxes.assign(**{corner: corners[corner] for corner in _CORNERS})


def _outside_message(row: pd.Series) -> str:
    corners = ", ".join(f"{row[corner]:g}" for corner in _CORNERS)
    return (
        f"{_BOXES_IN_MESSAGES}: the box {corners} lies outside its image {row.image}, which has "
        f"{row.width}×{row.height} pixels: write boxes in pixels of the upright original image"
    )
