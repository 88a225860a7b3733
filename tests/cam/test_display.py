"""Heatmaps, against maps worked out by hand and torch's interpolation."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pokecam.cam.device_display import display_on_device
from pokecam.cam.display import display, display_difference, is_constant


def test_two_pixels_by_hand():
    # Centres of the four large pixels lie at -1/4, 1/4, 3/4, 5/4 of the small ones.
    heatmap = display(np.array([[0.0, 4.0]], dtype=np.float32), 4)
    np.testing.assert_allclose(heatmap, np.tile([0, 0.25, 0.75, 1], (4, 1)))


def test_relu_comes_before_upsampling():
    heatmap = display(np.array([[-4.0, 4.0]], dtype=np.float32), 4)
    np.testing.assert_allclose(heatmap[0], [0, 0.25, 0.75, 1])


@pytest.mark.parametrize("size_px", [3, 7, 96, 128, 224, 225])
@pytest.mark.parametrize("shape", [(7, 7), (13, 13), (6, 14), (1, 1), (1, 5)])
def test_equals_torch(shape, size_px):
    raw = np.random.default_rng(0).normal(size=(2, 3, *shape)).astype(np.float32)
    expected = F.interpolate(
        torch.from_numpy(raw).relu(), size=(size_px, size_px), mode="bilinear", align_corners=False
    ).numpy()
    highest = expected.max((-2, -1), keepdims=True)
    constant = is_constant(raw)[..., None, None]
    expected = np.where(constant | (highest == 0), 0, expected / np.where(highest == 0, 1, highest))
    np.testing.assert_allclose(display(raw, size_px), expected, atol=2e-6)
    on_device = display_on_device(torch.from_numpy(raw), size_px, size_px)
    np.testing.assert_allclose(on_device.numpy(), expected, atol=2e-6)


def test_empty_maps_are_found_and_become_zero():
    ramp = np.arange(4, dtype=np.float32).reshape(2, 2)
    maps = np.stack([ramp, ramp * 0, ramp * 0 + 3, -ramp - 1])
    assert is_constant(maps).tolist() == [False, True, True, True]
    for heatmaps in (display(maps, 8), display_on_device(torch.from_numpy(maps), 8, 8).numpy()):
        assert heatmaps[0].max() == 1
        assert not heatmaps[1:].any()


def test_maps_without_a_number_become_zero():
    maps = np.array([[[np.nan, 1.0], [2.0, 3.0]]], dtype=np.float32)
    with np.errstate(invalid="ignore"):
        assert not display(maps, 4).any()
    assert not display_on_device(torch.from_numpy(maps), 4, 4).any()


def test_on_the_device_of_the_maps_heights_and_widths_differ():
    raw = np.random.default_rng(1).normal(size=(2, 5, 7)).astype(np.float32)
    heatmaps = display_on_device(torch.from_numpy(raw), 30, 50)
    assert heatmaps.shape == (2, 30, 50)
    np.testing.assert_allclose(heatmaps, display(raw, (30, 50)), atol=2e-6)


def test_the_input_is_not_changed():
    raw = np.array([[-1.0, 2.0]], dtype=np.float32)
    before = raw.copy()
    raw.flags.writeable = False  # as a memory map opened for reading
    display(raw, 5)
    np.testing.assert_array_equal(raw, before)


def test_the_difference_of_two_maps_by_hand():
    """3 − 1 = 2 is the largest magnitude; 0 − 1 = −1 is half of it, for the other class."""
    maps, others = np.array([[3.0, 0]]), np.array([[1.0, 1]])
    assert display_difference(maps, others, 2)[0].tolist() == [1, -0.5]
    assert display_difference(others, maps, 2)[0].tolist() == [-1, 0.5]


def test_equal_maps_have_no_difference():
    maps = np.full((2, 3, 3), -4.0)
    assert not display_difference(maps, maps, 8).any()
