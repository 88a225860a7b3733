"""A map painted over a picture: inferno, which is perceptually uniform, safe for the colour-blind
and grows lighter with the map, so that it also reads in black and white."""

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

# Without its pale end, which the picture's shadows would turn grey.
COLOURS = colormaps["inferno"](np.linspace(0, 0.93, 256))[:, :3].astype(np.float32)  # (256, 3)
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # of sRGB, ITU-R BT.709


def overlay(pixels: NDArray[np.uint8], shown: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour each pixel by the map and darken it by the picture's own shadows; where the map is
    near zero, a faint grey picture remains.

    pixels: (..., S, S, 3). shown: (..., S, S) in [0, 1], of `cam.display`. Returns (..., S, S, 3).
    """
    grey = (pixels / np.float32(255)) @ LUMINANCE  # (..., S, S)
    colour = COLOURS[np.round(shown * 255).astype(np.uint8)]  # (..., S, S, 3)
    mixed = colour * (0.65 + 0.35 * grey[..., None]) + (0.18 * grey * (1 - shown))[..., None]
    return np.round(255 * np.minimum(mixed, 1)).astype(np.uint8)


def css_gradient(n_stops: int = 9) -> str:
    """The colour map from 0 to 1 as the colour stops of a CSS gradient."""
    stops = COLOURS[np.linspace(0, 255, n_stops).round().astype(int)]
    return ", ".join("#" + "".join(f"{round(255 * float(v)):02x}" for v in stop) for stop in stops)
