"""Where the object is in an image, by masks or boxes of the source."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pokecam.data.packed.images import Packed
from pokecam.judging import localization


@dataclass(frozen=True)
class GroundTruth:
    """Where the object is in n images.

    Attributes:
        masks: bool (n, S, S), False everywhere in an image whose object is not known.
        boxes: n arrays (k, 4) of `images.CORNERS` in packed pixels, k = 0 where it is not known.
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
    boxes = packed.boxes_of(files)
    masks = localization.masks_of_boxes(boxes, packed.pixels.shape[1])
    if packed.masks is not None:
        source_masks = packed.masks[rows] > 0
        has_mask = source_masks.any(axis=(1, 2))
        masks[has_mask] = source_masks[has_mask]
    without_box = [i for i, corners in enumerate(boxes) if not len(corners)]
    for i, box in zip(without_box, localization.boxes_of_masks(masks[without_box]), strict=True):
        boxes[i] = box
    return GroundTruth(masks, boxes)
