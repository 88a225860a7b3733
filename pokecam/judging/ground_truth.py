"""Where the object is in an image, by masks or boxes of the source."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pokecam.data.packed.images import Packed
from pokecam.judging import localization

CORNERS = ["xmin", "ymin", "xmax", "ymax"]


@dataclass(frozen=True)
class GroundTruth:
    """Where the object is in n images.

    Attributes:
        masks: bool (n, S, S), False everywhere in an image whose object is not known.
        boxes: n arrays (k, 4) of `CORNERS` in packed pixels, k = 0 where it is not known.
    """

    masks: NDArray[np.bool_]
    boxes: list[NDArray[np.float64]]


def find_ground_truth(packed: Packed, rows: NDArray[np.intp]) -> GroundTruth | None:
    """Find where the object is in packed images.

    Masks and boxes are those of the source. Where an image has only one of the two, the other is
    derived from it: boxes are filled to give a mask, and a mask gives its tight box.

    Args:
        packed: the packed images.
        rows: (n,) int, rows of the packed images.

    Returns:
        None if the source has neither masks nor boxes.
    """
    if packed.masks is None and packed.boxes is None:
        return None
    files = packed.manifest.file.iloc[rows].to_list()
    boxes = _boxes(packed, files)
    masks = localization.masks_of_boxes(boxes, packed.pixels.shape[1])
    if packed.masks is not None:
        source_masks = packed.masks[rows] > 0
        has_mask = source_masks.any(axis=(1, 2))
        masks[has_mask] = source_masks[has_mask]
    without_box = [i for i, corners in enumerate(boxes) if not len(corners)]
    for i, box in zip(without_box, localization.boxes_of_masks(masks[without_box]), strict=True):
        boxes[i] = box
    return GroundTruth(masks, boxes)


def _boxes(packed: Packed, files: list[str]) -> list[NDArray[np.float64]]:
    """Return the boxes (k, 4) of each file."""
    if packed.boxes is None:
        return [np.zeros((0, 4)) for _ in files]
    table = packed.boxes[packed.boxes.image.isin(files)]
    corners = table[CORNERS].to_numpy(float)
    images = table.image.to_numpy()
    return [corners[images == file] for file in files]
