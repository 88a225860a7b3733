"""A heatmap laid over an image, the same way in the figures and, by viewer.js, in the page."""

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from pokecam.common.errors import InputError

# All are perceptually uniform, safe for the colour-blind, and lighter where the map is higher, so
# that they can be read in black and white. Figures use the first. Its pale end is cut off, because
# light images would be lost in it.
COLOURS = {
    name: np.round(255 * colormaps[name](np.linspace(0, end, 256))[:, :3]).astype(np.uint8)
    for name, end in (("inferno", 0.93), ("cividis", 1.0), ("gray", 1.0))
}  # (256, 3) each
AGAINST = np.round(255 * colormaps["PuOr"](np.linspace(0, 1, 256))[:, :3]).astype(np.uint8)
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # of sRGB, ITU-R BT.709
OPACITY = 0.65


def overlay(pixels: NDArray[np.uint8], heatmaps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay the colours of heatmaps over images in grey.

    Args:
        pixels: uint8 (..., H, W, 3), RGB.
        heatmaps: (..., H, W) in [0, 1], as `cam.display` returns them.

    Returns:
        uint8 (..., H, W, 3).

    Raises:
        InputError: the pixels are of another type, or not of the size of the heatmaps.
    """
    # Pixels from 0 to 1, as other libraries take them, would give a black image.
    if pixels.dtype != np.uint8 or pixels.shape[-3:] != (*heatmaps.shape[-2:], 3):
        raise InputError(
            f"pixels {pixels.shape} of {pixels.dtype} given for heatmaps {heatmaps.shape}; give "
            "uint8 (H, W, 3) of the height and width of the heatmaps"
        )
    return _blend(pixels, COLOURS["inferno"][np.round(heatmaps * 255).astype(np.uint8)])


def difference(pixels: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay the colours of evidence for a class (orange) and against it (purple) over images in grey.

    Args:
        pixels: uint8 (..., S, S, 3).
        values: (..., S, S) in [−1, 1]; positive values are evidence for the class.

    Returns:
        uint8 (..., S, S, 3).
    """
    index = np.round((1 - values) * 127.5).astype(np.uint8)  # the colour map begins with orange
    return _blend(pixels, AGAINST[index])


def _blend(pixels: NDArray[np.uint8], colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = (pixels @ LUMINANCE)[..., None]
    return np.round((1 - OPACITY) * grey + OPACITY * colour).astype(np.uint8)


def css_gradient(colours: NDArray[np.uint8], n_stops: int = 9) -> str:
    """Return a table of colours (256, 3) as the colour stops of a CSS gradient."""
    stops = colours[np.linspace(0, 255, n_stops).round().astype(int)]
    return ", ".join("#" + bytes(stop.tolist()).hex() for stop in stops)
