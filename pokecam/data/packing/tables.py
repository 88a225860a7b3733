"""The tables beside the packed pixels: manifest, duplicates, and those the source brings along."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from zipfile import ZipFile

import numpy as np
import pandas as pd

from pokecam.common.errors import InputError
from pokecam.data.packed.csv_tables import read_foreign, read_table
from pokecam.data.packed.letterbox import Fit
from pokecam.data.packing.duplicates import Fingerprint
from pokecam.data.sources.names import one_form

_CORNERS = ["xmin", "ymin", "xmax", "ymax"]
_BOXES = "boxes.csv"  # the one table that a source other than `drawn` can bring along
_NAMED = "boxes.csv of the source"


@dataclass(frozen=True)
class PackedRow:
    """What is known of one packed image besides its pixels."""

    file: str  # "Class/name.ext"
    width: int  # of the upright original, px
    height: int
    place: Fit
    print: Fingerprint

    @property
    def label(self) -> str:
        return self.file.split("/")[0]


def manifest(rows: Sequence[PackedRow], group: np.ndarray) -> pd.DataFrame:
    """Return one line per packed image, in the order of the pixels."""
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
    """Return file, label, group of the images that share their group with another."""
    shared = manifest[manifest.group.duplicated(keep=False)]
    return shared[["file", "label", "group"]].sort_values(["group", "file"])


def read_source_table(raw: ZipFile, name: str) -> pd.DataFrame | None:
    """Return a table of raw.zip, None if it has none of that name.

    boxes.csv may be anybody's: it comes as text, and `InputError` is raised if it is no csv of
    the right columns.
    """
    if name not in raw.namelist():
        return None
    if name == _BOXES:
        boxes = read_foreign(raw.read(name), _NAMED, ["image", "label", *_CORNERS])
        return boxes.assign(image=boxes.image.map(_in_one_form), label=boxes.label.map(one_form))
    with raw.open(name) as file:
        return read_table(file)


def _in_one_form(file: str) -> str:
    return "/".join(map(one_form, file.split("/")))


def packed_boxes(
    boxes: pd.DataFrame, rows: Sequence[PackedRow], all_files: Collection[str]
) -> pd.DataFrame:
    """Return the boxes of the packed images, carried from original to packed pixels.

    boxes: image, label, xmin, ymin, xmax, ymax, as text. What lies beyond the image is cut off;
    a box that is there twice counts once. Raises `InputError` for an image that the source does
    not have or of another class than the box, for corners that are not finite numbers with room
    between them, and for a box that lies beside its image.
    """
    boxes = _checked(boxes, all_files)
    places = pd.DataFrame(
        {
            "image": [row.file for row in rows],
            "width": [row.width for row in rows],
            "height": [row.height for row in rows],
            "scale": [row.place.scale for row in rows],
            "left": [row.place.left for row in rows],
            "top": [row.place.top for row in rows],
        }
    )
    joined = boxes.merge(places, on="image").drop_duplicates()
    for low, high, side in (("xmin", "xmax", "width"), ("ymin", "ymax", "height")):
        beside = (joined[high] <= 0) | (joined[low] >= joined[side])
        if beside.any():
            raise InputError(_beside(joined[beside].iloc[0]))
        for corner in (low, high):
            offset = joined.left if side == "width" else joined.top
            joined[corner] = joined[corner].clip(0, joined[side]) * joined.scale + offset
    return joined[["image", "label", *_CORNERS]]


def _checked(boxes: pd.DataFrame, all_files: Collection[str]) -> pd.DataFrame:
    """The boxes with numbers for corners."""
    unknown = boxes.image[~boxes.image.isin(all_files)]
    if len(unknown):
        raise InputError(
            f"{_NAMED} has a box for {unknown.iloc[0]!r}, which is no image of the source: "
            "CLASS/name.ext is expected"
        )
    other = boxes[boxes.image.str.split("/").str[0] != boxes.label]
    if len(other):
        raise InputError(
            f"{_NAMED} has the label {other.label.iloc[0]!r} for {other.image.iloc[0]}: a box is "
            "of what its image's class is, leave out others"
        )
    corners = boxes[_CORNERS].apply(pd.to_numeric, errors="coerce").astype(float)
    sound = (corners.xmin < corners.xmax) & (corners.ymin < corners.ymax)
    sound &= np.isfinite(corners).all(axis=1)
    if not sound.all():
        row = boxes[~sound].iloc[0]
        raise InputError(
            f"{_NAMED}: the box of {row.image} is {', '.join(row[_CORNERS])}, not four numbers "
            "xmin < xmax, ymin < ymax in pixels, with a point before decimals"
        )
    return boxes.assign(**{corner: corners[corner] for corner in _CORNERS})


def _beside(row: pd.Series) -> str:
    corners = ", ".join(f"{row[corner]:g}" for corner in _CORNERS)
    return (
        f"{_NAMED}: the box {corners} lies beside its image {row.image}, which has "
        f"{row.width}×{row.height} pixels: give it in pixels of the image as it is shown"
    )
