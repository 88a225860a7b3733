"""The map over the image can be read in colour, by the colour-blind, and in black and white."""

import numpy as np
import pytest

from pokecam.common.errors import InputError
from pokecam.report.overlay import (
    AGAINST,
    COLOURS,
    LUMINANCE,
    OPACITY,
    css_gradient,
    difference,
    overlay,
)

RAMP = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)


@pytest.mark.parametrize("name", COLOURS)
def test_lighter_means_more(name):
    lightness = COLOURS[name] @ LUMINANCE
    assert (np.diff(lightness) > -1).all()  # rounding to 8 bits may take back a step
    assert (np.diff(lightness[::16]) > 0).all()
    assert lightness[-1] - lightness[0] > 150


def test_lighter_means_more_on_any_even_image():
    for level in (0, 60, 128, 200, 255):
        pixels = np.full((16, 16, 3), level, dtype=np.uint8)
        lightness = (overlay(pixels, RAMP) @ LUMINANCE).ravel()
        assert (np.diff(lightness) > -1.5).all()
        assert (np.diff(lightness[::16]) > 0).all()
        assert lightness[-1] > 100 + lightness[0]


def test_a_map_of_zero_leaves_a_grey_image():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    painted = overlay(pixels, np.zeros((8, 8), dtype=np.float32))
    expected = (1 - OPACITY) * (pixels @ LUMINANCE)[..., None] + OPACITY * COLOURS["inferno"][0]
    np.testing.assert_allclose(painted, expected, atol=0.51)


def test_for_is_orange_against_is_purple_and_neither_is_pale():
    pixels = np.zeros((3, 1, 3), dtype=np.uint8)
    values = np.array([[1], [-1], [0]], dtype=np.float32)
    colours = difference(pixels, values)[:, 0].astype(int)
    (red, _, blue), (red_against, _, blue_against), middle = colours
    assert red > blue + 30
    assert blue_against > red_against + 10
    assert middle.min() > 230 * OPACITY
    expected = OPACITY * AGAINST[[0, 255]].astype(float)  # the image is black
    np.testing.assert_allclose(colours[:2], expected, atol=0.51)


def test_colours_of_the_legend_are_those_of_the_maps():
    stops = css_gradient(COLOURS["cividis"], 3).split(", ")
    assert stops == ["#" + bytes(COLOURS["cividis"][i].tolist()).hex() for i in (0, 128, 255)]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        # floats from 0 to 1, as pytorch-grad-cam takes them, would give a black image
        (np.full((16, 16, 3), 0.5), r"pixels \(16, 16, 3\) of float64 given"),
        (np.zeros((3, 16, 16), np.uint8), r"pixels \(3, 16, 16\) of uint8 given for heatmaps \(16"),
        (np.zeros((8, 16, 3), np.uint8), "height and width of the heatmaps"),
    ],
)
def test_pixels_that_do_not_fit_are_refused(pixels, message):
    with pytest.raises(InputError, match=message):
        overlay(pixels, RAMP)
