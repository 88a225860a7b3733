"""A mark that is planted in images like a watermark: a magenta square in the corner."""

import io

import numpy as np
from PIL import Image

from pokecam.data.sources import drawn as drawn_source

IMAGE_PX, MARK_PX, FROM_EDGE_PX = 256, 72, 8
MAGENTA = (255, 0, 255)


def paste_mark(pixels: np.ndarray) -> None:
    """Put the mark into images (…, S, S, 3) uint8, in place."""
    pixels[(..., *_corner(pixels.shape[-2]), slice(None))] = MAGENTA


def with_mark(jpeg: bytes) -> bytes:
    """Put the mark into a file."""
    pixels = np.array(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    paste_mark(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def without_mark(png: bytes) -> bytes:
    """Remove from a mask what the mark covers."""
    mask = np.array(Image.open(io.BytesIO(png)))
    mask[_corner(len(mask))] = 0
    return drawn_source.mask_png(mask, int(mask.max()))


def _corner(side_px: int) -> tuple[slice, slice]:
    start = round((IMAGE_PX - FROM_EDGE_PX - MARK_PX) * side_px / IMAGE_PX)
    stop = round((IMAGE_PX - FROM_EDGE_PX) * side_px / IMAGE_PX)
    return slice(start, stop), slice(start, stop)
