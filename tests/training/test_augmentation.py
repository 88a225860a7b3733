"""Random views, compared with torchvision, and what they must not change."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from pokecam.networks.classifier import MEAN, STD, prepare
from pokecam.training import augmentation
from pokecam.training.augmentation import augment, sample_views


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_pixels(n=4, size_px=24):
    return torch.randint(60, 190, (n, size_px, size_px, 3), generator=generator(9)).byte()


@pytest.fixture
def full_windows(monkeypatch):
    monkeypatch.setattr(augmentation, "AREA", (1, 1))
    monkeypatch.setattr(augmentation, "ASPECT", (1, 1))


@pytest.fixture
def unchanged_colours(monkeypatch):
    monkeypatch.setattr(augmentation, "COLOUR", 0)


@pytest.mark.usefixtures("full_windows", "unchanged_colours")
def test_a_view_of_everything_is_the_image_or_its_mirror_image():
    pixels = random_pixels(16)
    plain = prepare(pixels)
    mirrored = 0
    for view, image in zip(augment(pixels, sample_views(16, generator()), 24), plain, strict=True):
        if torch.allclose(view, image.flip(2), atol=1e-4):
            mirrored += 1
        else:
            assert torch.allclose(view, image, atol=1e-4)
    assert 4 <= mirrored <= 12


def test_windows_are_inside_the_image_and_have_the_chosen_areas():
    views = sample_views(2000, generator())
    scale, shift = views.scale, views.shift
    assert (scale.abs() + shift.abs() <= 1 + 1e-6).all()
    area = scale.abs().prod(dim=1)
    assert area.max() <= 1
    # A side longer than that of the image is cut, which happens to large windows only.
    assert area.min() == pytest.approx(augmentation.AREA[0], abs=1e-3)
    aspect = (scale[:, 0] / scale[:, 1]).abs()
    assert aspect.min() >= 3 / 4 - 1e-5
    assert aspect.max() <= 4 / 3 + 1e-5
    assert (scale[:, 0] < 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert (scale[:, 1] > 0).all()


def test_sampling_grid_is_the_affine_grid_of_the_same_map():
    views = sample_views(3, generator())
    scale, shift = views.scale, views.shift
    matrix = torch.cat([torch.diag_embed(scale), shift[:, :, None]], dim=2)  # (n, 2, 3)
    expected = F.affine_grid(matrix, [3, 1, 7, 7], align_corners=False)
    assert torch.allclose(augmentation.sampling_grid(scale, shift, 7), expected, atol=1e-6)


def test_colours_change_as_torchvision_changes_them():
    factors = {"saturation": 0.85, "contrast": 1.15, "brightness": 0.9}
    images = unnormalised(random_pixels())
    factor_rows = torch.tensor([list(factors.values())]).expand(len(images), -1)
    changed = augmentation.change_colours(255 * images, factor_rows)
    expected = v2.functional.adjust_saturation(images, factors["saturation"])
    expected = v2.functional.adjust_contrast(expected, factors["contrast"])
    expected = v2.functional.adjust_brightness(expected, factors["brightness"])
    # The weights of red, green and blue have four digits in torchvision, three in `LUMA`.
    assert torch.allclose(changed, v2.functional.normalize(expected, MEAN, STD), atol=2e-3)


def unnormalised(pixels):
    """(N, S, S, 3) uint8 → (N, 3, S, S) in [0, 1]."""
    return pixels.permute(0, 3, 1, 2) / 255


def test_factors_of_one_only_normalise():
    pixels = random_pixels()
    changed = augmentation.change_colours(255 * unnormalised(pixels), torch.ones(len(pixels), 3))
    assert torch.allclose(changed, prepare(pixels), atol=1e-5)


def test_the_generator_decides_everything_and_the_pixels_do_not_change():
    pixels = random_pixels()
    before = pixels.clone()
    first, repeated, different = (
        augment(pixels, sample_views(4, generator(seed)), 16) for seed in (1, 1, 2)
    )
    assert torch.equal(first, repeated)
    assert not torch.allclose(first, different)
    assert torch.equal(pixels, before)
    assert first.shape == (4, 3, 16, 16)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_each_image_of_a_batch_gets_another_view():
    pixels = random_pixels(1).expand(6, -1, -1, -1)
    views = augment(pixels, sample_views(6, generator()), 16)
    assert all(not torch.allclose(views[0], view) for view in views[1:])


def test_a_slice_of_the_views_is_for_a_slice_of_the_images():
    pixels, views = random_pixels(5), sample_views(5, generator())
    x = augment(pixels, views, 16)
    torch.testing.assert_close(augment(pixels[1:3], views[1:3], 16), x[1:3])
    assert len(views[1:3]) == 2


def test_zooming_out_changes_nothing_else_about_the_views():
    plain = sample_views(2000, generator())
    zoomed_out = sample_views(2000, generator(), zoom_out=0.3)
    for name in ("scale", "shift", "colours"):
        assert torch.equal(getattr(plain, name), getattr(zoomed_out, name))
    assert (plain.zoom == 1).all()
    below_1 = zoomed_out.zoom[zoomed_out.zoom < 1]
    assert len(below_1) / 2000 == pytest.approx(0.3, abs=0.03)
    assert below_1.aminmax() == pytest.approx(augmentation.ZOOM, abs=0.01)
    is_image = zoomed_out.background.isnan().all(dim=1)
    assert is_image.float().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.usefixtures("full_windows", "unchanged_colours")
@pytest.mark.parametrize("position", [(0, 1), (1, 0), (0.5, 0.5)])
def test_an_image_of_half_the_side_by_hand(position):
    """It is on a background of one colour. The other image does not change."""
    pixels = random_pixels(2)
    views, colour = sample_views(2, generator()), torch.tensor([10.0, 200.0, 70.0])
    plain = augment(pixels, views, 24)
    views = replace(
        views,
        zoom=torch.tensor([1.0, 0.5]),
        position=torch.tensor([(0.0, 0.0), position]),
        background=colour.expand(2, 3),
    )
    x = augment(pixels, views, 24)
    torch.testing.assert_close(x[0], plain[0])
    left, top = (round(12 * fraction) for fraction in position)
    inside = x[1, :, top : top + 12, left : left + 12].clone()
    # Along a side, each pixel is the mean of the four pixels around it with these weights.
    weights = torch.zeros(12, 26)
    for i in range(12):
        weights[i, 2 * i : 2 * i + 4] = torch.tensor([1.0, 3, 3, 1])
    weights = F.normalize(weights[:, 1:-1], p=1, dim=1)
    torch.testing.assert_close(inside, weights @ plain[1] @ weights.T, atol=1e-5, rtol=1e-5)
    x[1, :, top : top + 12, left : left + 12] = torch.nan
    normalised = ((colour / 255 - torch.tensor(MEAN)) / torch.tensor(STD))[:, None]
    outside = x[1].flatten(1)
    outside = outside[:, ~outside[0].isnan()]
    torch.testing.assert_close(outside, normalised.expand_as(outside))


@pytest.mark.usefixtures("full_windows", "unchanged_colours")
def test_another_image_as_background_is_blurred():
    pixels = torch.full((2, 24, 24, 3), 90, dtype=torch.uint8)
    pixels[1] = 200
    views = replace(
        sample_views(2, generator()),
        zoom=torch.tensor([1.0, 0.5]),
        background=torch.full((2, 3), torch.nan),
    )
    x = augment(pixels, views, 24)
    bright, dark = prepare(pixels)[[1, 0], :, 0, 0]
    torch.testing.assert_close(x[1, :, :12, :12], bright[:, None, None].expand(3, 12, 12))
    torch.testing.assert_close(x[1, :, 12:], dark[:, None, None].expand(3, 12, 24))
    # The last image counts as the one before the first.
    first = augment(pixels, replace(views, zoom=torch.tensor([0.5, 1.0])), 24)
    torch.testing.assert_close(first[0, :, 12:], bright[:, None, None].expand(3, 12, 24))
