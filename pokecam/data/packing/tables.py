"""The tables of the packed images: manifest, duplicates, and the tables of the source."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from zipfile import ZipFile

import numpy as np
import pandas as pd

from pokecam.common.errors import InputError
from pokecam.data.packed.csv_tables import read_foreign, read_table
from pokecam.data.packed.images import CORNERS
from pokecam.data.packed.letterbox import Fit
from pokecam.data.packing.duplicates import Fingerprint
from pokecam.data.sources.names import normalise_name

# A box may reach this far beyond its image, because programs round differently.
ROUNDING_PX = 1.0
_SIDES = ["width", "height", "width", "height"]  # what limits each of CORNERS
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
        boxes = read_foreign(raw.read(name), _BOXES_IN_MESSAGES, ["image", "label", *CORNERS])
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

    A box that reaches beyond its image by up to `ROUNDING_PX` is cut at the border. A box that is
    listed twice counts once.

    Args:
        boxes: image, label, xmin, ymin, xmax, ymax, as text. The index is the line in the file.
        rows: the packed images.
        all_files: all files of the source, in the form "Class/name.ext".

    Returns:
        The boxes of the packed images: the same columns, corners as numbers.

    Raises:
        InputError: the source does not have the image of a box, or has it in another class than
            the box; the corners of a box are not finite numbers with xmin < xmax and
            ymin < ymax; or a box of a packed image is in fractions of the image, or lies or
            reaches outside it.
    """
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
    parsed = _parse_boxes(boxes, all_files).assign(line=boxes.index)
    joined = parsed.merge(placements, on="image")
    _check_limits(joined)
    for corner, side, offset in zip(CORNERS, _SIDES, ("left", "top", "left", "top"), strict=True):
        joined[corner] = joined[corner].clip(0, joined[side]) * joined.scale + joined[offset]
    return joined[["image", "label", *CORNERS]].drop_duplicates()


def _parse_boxes(boxes: pd.DataFrame, all_files: Collection[str]) -> pd.DataFrame:
    """Check the boxes and convert their corners from text to numbers."""
    unknown = boxes.image[~boxes.image.isin(all_files)]
    if len(unknown):
        raise InputError(
            f"{_BOXES_IN_MESSAGES}, line {unknown.index[0]}: a box for {unknown.iloc[0]!r}, which "
            "is not an image of the source: write images as CLASS/name.ext"
        )
    mismatches = boxes[boxes.image.str.split("/").str[0] != boxes.label]
    if len(mismatches):
        row = mismatches.iloc[0]
        raise InputError(
            f"{_BOXES_IN_MESSAGES}, line {row.name}: the label {row.label!r} for {row.image}: the "
            "label of a box must be the class of its image; remove boxes of other objects"
        )
    corners = boxes[CORNERS].apply(pd.to_numeric, errors="coerce").astype(float)
    is_valid = (corners.xmin < corners.xmax) & (corners.ymin < corners.ymax)
    is_valid &= np.isfinite(corners).all(axis=1)
    if not is_valid.all():
        row = boxes[~is_valid].iloc[0]
        raise InputError(
            f"{_BOXES_IN_MESSAGES}, line {row.name}: the box of {row.image} is "
            f"{', '.join(row[CORNERS])}, not four numbers xmin < xmax, ymin < ymax in pixels, with "
            "a point before decimals"
        )
    return boxes.assign(**{corner: corners[corner] for corner in CORNERS})


def _check_limits(boxes: pd.DataFrame) -> None:
    """Check that boxes are in pixels, and within their images.

    Args:
        boxes: line, image, xmin, ymin, xmax, ymax, and width and height of the image.
    """
    corners = boxes[CORNERS].to_numpy(float)
    fractions = boxes[((corners >= 0) & (corners <= 1)).all(axis=1)]
    if len(fractions):
        row = fractions.iloc[0]
        values = ", ".join(f"{row[corner]:g}" for corner in CORNERS)
        more = f" (and {len(fractions) - 1} more)" if len(fractions) > 1 else ""
        raise InputError(
            f"{_BOXES_IN_MESSAGES}, line {row.line}: the box {values}{more} of {row.image} looks "
            f"like fractions of its {row.width}×{row.height} pixels: multiply xmin and xmax by its "
            "width, ymin and ymax by its height"
        )
    sides = boxes[_SIDES].to_numpy(float)
    is_outside = (corners < -ROUNDING_PX) | (corners > sides + ROUNDING_PX)
    is_outside[:, :2] |= corners[:, :2] >= sides[:, :2]
    is_outside[:, 2:] |= corners[:, 2:] <= 0
    if is_outside.any():
        position = int(np.flatnonzero(is_outside.any(axis=1))[0])
        row, corner = boxes.iloc[position], CORNERS[int(is_outside[position].argmax())]
        raise InputError(
            f"{_BOXES_IN_MESSAGES}, line {row.line}: {corner} = {row[corner]:g} lies outside "
            f"{row.image}, which has {row.width}×{row.height} pixels: write boxes in pixels of the "
            "upright original image"
        )
