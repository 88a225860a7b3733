"""Fitting a whole image into a square with bars, and masks in the same way."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Fit:
    """Where an image lies in its square: x_packed = x · scale + left, y_packed = y · scale + top.

    Attributes:
        size_px: the side S of the square.
        width: the width of the fitted image in packed pixels. It is rounded, so the right edge
            differs from the equation by at most half a pixel.
        height: the same for its height.
        left: the first column of the fitted image.
        top: its first row.
        scale: packed pixels for each pixel of the original.
    """

    size_px: int
    width: int
    height: int
    left: int
    top: int
    scale: float


def fit(width: int, height: int, size_px: int) -> Fit:
    """Return where an image of `width` × `height` px lies in a square of side `size_px`.

    Its longest side becomes `size_px`.
    """
    scale = size_px / max(width, height)
    fitted_width = max(1, round(width * scale))
    fitted_height = max(1, round(height * scale))
    left = (size_px - fitted_width) // 2
    top = (size_px - fitted_height) // 2
    return Fit(size_px, fitted_width, fitted_height, left, top, scale)


def draft_size(size: tuple[int, int], size_px: int) -> tuple[int, int]:
    """Return the width and height that a decoder may shrink an image to.

    The image is then fitted into a square of side `size_px`. Its longest side stays at least twice
    as long as that.
    """
    width, height = size
    shrink = max(1.0, max(width, height) / (2 * size_px))
    return max(1, int(width / shrink)), max(1, int(height / shrink))


def letterbox(image: Image.Image, place: Fit) -> tuple[Image.Image, np.ndarray]:
    """Fit an RGB image into a square.

    The bars have the median colour of the edges that touch them. On a plain background they are
    invisible, while black bars would add a shape to the image.

    Args:
        image: the image in its original size, RGB.
        place: where it lies in the square, as `fit` returns it.

    Returns:
        The fitted image without bars, and the square (S, S, 3) uint8.
    """
    fitted = image.resize((place.width, place.height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(fitted)  # (h, w, 3)
    square = np.empty((place.size_px, place.size_px, 3), np.uint8)
    square[:] = np.median(_edges(pixels, place), axis=0).astype(np.uint8)
    square[inside(place)] = pixels
    return fitted, square


def letterbox_mask(mask: np.ndarray, place: Fit) -> np.ndarray:
    """Fit a mask into a square, at the same place as its image.

    Args:
        mask: (height, width) uint8, numbers of parts.
        place: where the image lies in the square.

    Returns:
        (S, S) uint8, 0 in the bars.
    """
    fitted = Image.fromarray(mask).resize((place.width, place.height), Image.Resampling.NEAREST)
    square = np.zeros((place.size_px, place.size_px), np.uint8)
    square[inside(place)] = np.asarray(fitted)
    return square


def inside(place: Fit) -> tuple[slice, slice]:
    """Return the rows and the columns of the square that the image fills."""
    return (
        slice(place.top, place.top + place.height),
        slice(place.left, place.left + place.width),
    )


def _edges(pixels: np.ndarray, place: Fit) -> np.ndarray:
    """Return the pixels (n, 3) along the two edges that touch the bars."""
    if place.width < place.height:
        return np.concatenate([pixels[:, 0], pixels[:, -1]])
    return np.concatenate([pixels[0], pixels[-1]])
