"""Imputation: filling in removed pixels from their surroundings."""

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer

from pokecam.cam.display import display
from pokecam.cam.imputation import _enlarge, _sum_cells, impute


def smooth_image(size_px, seed=0):
    """An image (1, 3, S, S) as smooth as one of 1/8 of its side, of standard deviation 1."""
    coarse = np.random.default_rng(seed).normal(size=(1, 3, size_px // 8, size_px // 8))
    large = torch.nn.functional.interpolate(
        torch.from_numpy(coarse).float(), (size_px, size_px), mode="bilinear"
    )
    return large / large.std()


def hole(size_px, share, seed=0):
    """The pixels (1, S, S) with the largest values of a smooth map."""
    heatmap = display(np.random.default_rng(seed).random((1, 7, 7), dtype=np.float32), size_px)
    return torch.from_numpy(heatmap >= np.quantile(heatmap, 1 - share))


def test_one_removed_pixel_by_hand():
    """The weighted mean of its eight neighbours: 2 beside it count 1/6, corners 1/12."""
    x = torch.zeros(1, 3, 5, 5)
    x[0, :, 2, 1] = 6.0  # beside
    x[0, :, 1, 1] = 12.0  # across the corner
    removed = torch.zeros(1, 5, 5, dtype=torch.bool)
    removed[0, 2, 2] = True
    filled = impute(x, removed)
    assert filled[0, :, 2, 2].tolist() == pytest.approx([6 / 6 + 12 / 12] * 3)
    assert torch.equal(filled[~removed[:, None].expand_as(x)], x[~removed[:, None].expand_as(x)])


def test_at_the_border_only_neighbours_inside_count():
    """In the corner two neighbours weigh 1/6 and one 1/12: (6 · 2 + 3 · 1) / 5 = 3."""
    x = torch.zeros(1, 3, 4, 4)
    x[0, :, 0, 1] = 6.0
    x[0, :, 1, 1] = 3.0
    removed = torch.zeros(1, 4, 4, dtype=torch.bool)
    removed[0, 0, 0] = True
    assert impute(x, removed)[0, :, 0, 0].tolist() == pytest.approx([3.0] * 3)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_plain_colour_stays_plain(share):
    x = torch.full((1, 3, 48, 48), 2.5)
    torch.testing.assert_close(impute(x, hole(48, share)), x)


def test_an_image_without_pixels_becomes_zero_and_noise():
    x, all_pixels = torch.ones(1, 3, 20, 20), torch.ones(1, 20, 20, dtype=torch.bool)
    noise = torch.randn(1, 3, 20, 20)
    assert torch.equal(impute(x, all_pixels, noise), noise)


@pytest.mark.parametrize(("share", "tolerance"), [(0.1, 0.08), (0.5, 0.08), (0.9, 0.08)])
def test_as_the_direct_solution(share, tolerance):
    """On average within `tolerance`, where the standard deviation of the input is 1. Filling with
    the mean colour would differ by 0.5 and more."""
    x, removed = smooth_image(224), hole(224, share)
    expected = NoisyLinearImputer(noise=0.0)(x[0], (~removed[0]).float())
    error = (impute(x, removed)[0] - expected).abs()[:, removed[0]].mean()
    error_of_mean_colour = expected.abs()[:, removed[0]].mean()
    assert error < tolerance
    assert error_of_mean_colour > 3 * tolerance


def test_grids_of_half_the_side():
    x = torch.arange(15.0).view(1, 1, 3, 5)  # rows 0–4, 5–9, 10–14
    assert _sum_cells(x).tolist() == [[[[12, 20, 13], [21, 25, 14]]]]
    y = torch.randn(2, 3, 7, 10)
    expected = torch.nn.functional.interpolate(y, (14, 20), mode="bilinear")
    torch.testing.assert_close(_enlarge(y, 14, 20), expected)
    torch.testing.assert_close(_enlarge(y, 13, 19), expected[..., :13, :19])


def test_images_do_not_mix_and_are_not_changed():
    x = torch.cat([smooth_image(32, 1), smooth_image(32, 2)])
    removed = torch.cat([hole(32, 0.2), hole(32, 0.7)])
    before = x.clone()
    both = impute(x, removed)
    assert torch.equal(x, before)
    for i in range(2):
        torch.testing.assert_close(both[i], impute(x[i : i + 1], removed[i : i + 1])[0])
