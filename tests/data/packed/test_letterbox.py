"""The whole image in its square, and masks at the same place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pokecam.data.packed.letterbox import fit, letterbox, letterbox_mask


def test_a_wide_image_by_hand():
    """200 × 100 in 50: scale 1/4, fitted 50 × 25, 25 rows left over, 12 of them above."""
    place = fit(200, 100, 50)
    assert (place.width, place.height) == (50, 25)
    assert (place.left, place.top, place.scale) == (0, 12, 0.25)


def test_a_small_image_grows():
    place = fit(10, 40, 80)
    assert (place.width, place.height, place.left, place.top) == (20, 80, 30, 0)
    assert place.scale == 2


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(32, 512))
def test_the_image_fills_one_side_and_stays_inside(width, height, size):
    place = fit(width, height, size)
    assert max(place.width, place.height) == size
    assert place.left >= 0
    assert place.left + place.width <= size
    assert place.top >= 0
    assert place.top + place.height <= size
    assert abs(place.width - width * place.scale) <= 1
    assert abs(place.height - height * place.scale) <= 1


def test_bars_have_the_median_colour_of_the_edges_they_touch():
    """A green image with blue left and right edges and some red at the top: the bars, above
    and below, are green."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[..., 1] = 200
    pixels[:, [0, -1]] = (0, 0, 255)
    pixels[0, 10:30] = (255, 0, 0)
    fitted, square = letterbox(Image.fromarray(pixels), fit(80, 40, 80))
    assert (square[:20] == (0, 200, 0)).all()
    assert (square[60:] == (0, 200, 0)).all()
    assert np.array_equal(square[20:60], pixels)
    assert np.array_equal(np.asarray(fitted), pixels)


def test_bars_of_a_tall_image():
    pixels = np.full((80, 40, 3), 9, np.uint8)
    pixels[[0, -1]] = 255
    square = letterbox(Image.fromarray(pixels), fit(40, 80, 80))[1]
    assert (square[:, :20] == 9).all()
    assert (square[:, 60:] == 9).all()


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (64, 64), (50, 20)])
def test_masks_lie_on_their_image(width, height):
    """A rectangle that is white in the image and part 7 in the mask stays together."""
    pixels = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    inside = np.s_[height // 4 : height // 2, width // 5 : width // 2]
    pixels[inside], mask[inside] = 255, 7
    place = fit(width, height, 100)
    square = letterbox(Image.fromarray(pixels), place)[1]
    packed = letterbox_mask(mask, place)
    assert set(np.unique(packed)) == {0, 7}
    assert ((square[..., 0] > 127) == (packed == 7)).mean() > 0.98
    rows, columns = np.nonzero(packed)
    assert columns.min() == pytest.approx((width // 5) * place.scale + place.left, abs=1)
    assert rows.min() == pytest.approx((height // 4) * place.scale + place.top, abs=1)
    assert columns.max() + 1 == pytest.approx((width // 2) * place.scale + place.left, abs=1)
    assert rows.max() + 1 == pytest.approx((height // 2) * place.scale + place.top, abs=1)
