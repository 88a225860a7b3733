"""How a whole image is fitted into a square, and how boxes and masks follow it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Fit:
    """Where an image lies in its square: x_packed = x · scale + left, y likewise with top.

    `width`, `height`: of the fitted image, in packed pixels, rounded, so that the far edges
    differ from the equation by at most half a pixel.
    """

    size_px: int
    width: int
    height: int
    left: int
    top: int
    scale: float


def fit(width: int, height: int, size_px: int) -> Fit:
    """Return the fit of a `width` × `height` image whose longest side becomes `size_px`."""
    scale = size_px / max(width, height)
    fitted_width = max(1, round(width * scale))
    fitted_height = max(1, round(height * scale))
    left = (size_px - fitted_width) // 2
    top = (size_px - fitted_height) // 2
    return Fit(size_px, fitted_width, fitted_height, left, top, scale)


def draft_size(size: tuple[int, int], size_px: int) -> tuple[int, int]:
    """Return the width and height to which a decoder may shrink an image that is fitted into a
    square of side `size_px`: its longest side stays at least twice that."""
    width, height = size
    shrink = max(1.0, max(width, height) / (2 * size_px))
    return max(1, int(width / shrink)), max(1, int(height / shrink))


def letterbox(image: Image.Image, place: Fit) -> tuple[Image.Image, np.ndarray]:
    """Return the fitted RGB image and its square, uint8 (S, S, 3).

    The bars beside it have the median colour of the edges that touch them: on a plain
    background no line shows, where black bars would be a shape of their own.
    """
    fitted = image.resize((place.width, place.height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(fitted)  # (h, w, 3)
    square = np.empty((place.size_px, place.size_px, 3), np.uint8)
    square[:] = np.median(_edges(pixels, place), axis=0).astype(np.uint8)
    square[inside(place)] = pixels
    return fitted, square


def letterbox_mask(mask: np.ndarray, place: Fit) -> np.ndarray:
    """Return a mask (height, width) of part numbers as uint8 (S, S); 0 outside the image."""
    fitted = Image.fromarray(mask).resize((place.width, place.height), Image.Resampling.NEAREST)
    square = np.zeros((place.size_px, place.size_px), np.uint8)
    square[inside(place)] = np.asarray(fitted)
    return square


def inside(place: Fit) -> tuple[slice, slice]:
    """Return the rows and columns of the square that the image takes."""
    return (
        slice(place.top, place.top + place.height),
        slice(place.left, place.left + place.width),
    )


def _edges(pixels: np.ndarray, place: Fit) -> np.ndarray:
    """The pixels (n, 3) along the two edges that touch the bars."""
    if place.width < place.height:
        return np.concatenate([pixels[:, 0], pixels[:, -1]])
    return np.concatenate([pixels[0], pixels[-1]])
