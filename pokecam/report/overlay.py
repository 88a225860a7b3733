"""A map painted over an image, the same way in figures and, from the same colours, in the page."""

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

# All perceptually uniform, safe for the colour-blind and lighter where the map is higher, so that
# they also read in black and white. The first is that of the figures, without its pale end, in
# which light images would be lost.
COLOURS = {
    name: np.round(255 * colormaps[name](np.linspace(0, end, 256))[:, :3]).astype(np.uint8)
    for name, end in (("inferno", 0.93), ("cividis", 1.0), ("gray", 1.0))
}  # (256, 3) each
AGAINST = np.round(255 * colormaps["PuOr"](np.linspace(0, 1, 256))[:, :3]).astype(np.uint8)
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # of sRGB, ITU-R BT.709
OPACITY = 0.65


def overlay(pixels: NDArray[np.uint8], shown: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay the colours of a map over the image in grey.

    pixels: (..., S, S, 3). shown: (..., S, S) in [0, 1], of `cam.display`. Returns (..., S, S, 3).
    """
    return _laid(pixels, COLOURS["inferno"][np.round(shown * 255).astype(np.uint8)])


def difference(pixels: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay the colours of what speaks for a class (orange, values > 0) and what for another
    (purple) over the image in grey.

    pixels: (..., S, S, 3). values: (..., S, S) in [-1, 1]. Returns (..., S, S, 3).
    """
    index = np.round((1 - values) * 127.5).astype(np.uint8)  # the colour map begins with orange
    return _laid(pixels, AGAINST[index])


def _laid(pixels: NDArray[np.uint8], colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = (pixels @ LUMINANCE)[..., None]
    return np.round((1 - OPACITY) * grey + OPACITY * colour).astype(np.uint8)


def css_gradient(colours: NDArray[np.uint8], n_stops: int = 9) -> str:
    """A table of colours (256, 3) as the colour stops of a CSS gradient."""
    stops = colours[np.linspace(0, 255, n_stops).round().astype(int)]
    return ", ".join("#" + bytes(stop.tolist()).hex() for stop in stops)
