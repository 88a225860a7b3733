"""The painted map: readable by everybody, in colour and in black and white."""

import numpy as np

from pokecam.report.overlay import COLOURS, LUMINANCE, css_gradient, overlay

RAMP = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)


def test_lighter_means_more_on_any_even_picture():
    for level in (0, 60, 128, 200, 255):
        pixels = np.full((16, 16, 3), level, dtype=np.uint8)
        lightness = (overlay(pixels, RAMP) @ LUMINANCE).ravel()
        # Rounding to 8 bits may take back a step, the faint grey picture below it a few.
        assert (np.diff(lightness) > -1.5).all()
        assert (np.diff(lightness[::16]) > 0)[3:].all()
        assert lightness[-1] > 100 + lightness[0] - level / 4


def test_a_map_of_zero_leaves_a_faint_grey_picture():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    grey = pixels / 255 @ LUMINANCE
    painted = overlay(pixels, np.zeros((8, 8), dtype=np.float32)) / 255
    expected = COLOURS[0] * (0.65 + 0.35 * grey[..., None]) + 0.18 * grey[..., None]
    np.testing.assert_allclose(painted, expected, atol=0.51 / 255)


def test_colours_of_the_legend_are_those_of_the_maps():
    stops = css_gradient(3).split(", ")
    hexadecimal = [
        "#" + bytes(np.round(255 * COLOURS[i]).astype(int).tolist()).hex() for i in (0, 128, 255)
    ]
    assert stops == hexadecimal
