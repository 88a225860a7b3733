"""Random views against torchvision's own functions and against what they must not change."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from pokecam.networks.classifier import MEAN, STD, prepare
from pokecam.training import augmentation
from pokecam.training.augmentation import augment, draw


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_pixels(n=4, size_px=24):
    return torch.randint(60, 190, (n, size_px, size_px, 3), generator=generator(9)).byte()


@pytest.fixture
def whole_images(monkeypatch):
    monkeypatch.setattr(augmentation, "AREA", (1, 1))
    monkeypatch.setattr(augmentation, "ASPECT", (1, 1))


@pytest.fixture
def true_colours(monkeypatch):
    monkeypatch.setattr(augmentation, "COLOUR", 0)


@pytest.mark.usefixtures("whole_images", "true_colours")
def test_a_view_of_everything_is_the_image_or_its_mirror_image():
    pixels = some_pixels(16)
    plain = prepare(pixels)
    mirrored = 0
    for view, image in zip(augment(pixels, draw(16, generator()), 24), plain, strict=True):
        if torch.allclose(view, image.flip(2), atol=1e-4):
            mirrored += 1
        else:
            assert torch.allclose(view, image, atol=1e-4)
    assert 4 <= mirrored <= 12


def test_windows_stay_inside_and_show_as_much_as_they_should():
    views = draw(2000, generator())
    scale, shift = views.scale, views.shift
    assert (scale.abs() + shift.abs() <= 1 + 1e-6).all()
    area = scale.abs().prod(dim=1)
    assert area.max() <= 1
    # A side that would not fit is cut to the image's, but only of large windows.
    assert area.min() == pytest.approx(augmentation.AREA[0], abs=1e-3)
    aspect = (scale[:, 0] / scale[:, 1]).abs()
    assert aspect.min() >= 3 / 4 - 1e-5
    assert aspect.max() <= 4 / 3 + 1e-5
    assert (scale[:, 0] < 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert (scale[:, 1] > 0).all()


def test_sampling_grid_is_the_affine_grid_of_the_same_map():
    views = draw(3, generator())
    scale, shift = views.scale, views.shift
    matrix = torch.cat([torch.diag_embed(scale), shift[:, :, None]], dim=2)  # (n, 2, 3)
    expected = F.affine_grid(matrix, [3, 1, 7, 7], align_corners=False)
    assert torch.allclose(augmentation.sampling_grid(scale, shift, 7), expected, atol=1e-6)


def test_colours_change_as_torchvision_changes_them():
    factors = {"saturation": 0.85, "contrast": 1.15, "brightness": 0.9}
    images = prepare_not(some_pixels())
    same = torch.tensor([list(factors.values())]).expand(len(images), -1)
    changed = augmentation.change_colours(255 * images, same)
    expected = v2.functional.adjust_saturation(images, factors["saturation"])
    expected = v2.functional.adjust_contrast(expected, factors["contrast"])
    expected = v2.functional.adjust_brightness(expected, factors["brightness"])
    # torchvision's weights of red, green, blue have four digits where ours have three
    assert torch.allclose(changed, v2.functional.normalize(expected, MEAN, STD), atol=2e-3)


def prepare_not(pixels):
    """(N, S, S, 3) uint8 → (N, 3, S, S) in [0, 1]."""
    return pixels.permute(0, 3, 1, 2) / 255


def test_without_change_colours_are_only_normalised():
    pixels = some_pixels()
    changed = augmentation.change_colours(255 * prepare_not(pixels), torch.ones(len(pixels), 3))
    assert torch.allclose(changed, prepare(pixels), atol=1e-5)


def test_the_generator_decides_everything_and_the_pixels_stay_as_they_are():
    pixels = some_pixels()
    before = pixels.clone()
    first, same, other = (augment(pixels, draw(4, generator(seed)), 16) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)
    assert torch.equal(pixels, before)
    assert first.shape == (4, 3, 16, 16)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_images_of_a_batch_get_views_of_their_own():
    pixels = some_pixels(1).expand(6, -1, -1, -1)
    views = augment(pixels, draw(6, generator()), 16)
    assert all(not torch.allclose(views[0], view) for view in views[1:])


def test_some_of_the_views_are_those_of_some_of_the_images():
    pixels, views = some_pixels(5), draw(5, generator())
    whole = augment(pixels, views, 16)
    torch.testing.assert_close(augment(pixels[1:3], views[1:3], 16), whole[1:3])
    assert len(views[1:3]) == 2


def test_zooming_out_changes_nothing_else_about_the_views():
    plain, some = draw(2000, generator()), draw(2000, generator(), zoom_out=0.3)
    for name in ("scale", "shift", "colours"):
        assert torch.equal(getattr(plain, name), getattr(some, name))
    assert (plain.zoomed == 1).all()
    smaller = some.zoomed[some.zoomed < 1]
    assert len(smaller) / 2000 == pytest.approx(0.3, abs=0.03)
    assert smaller.aminmax() == pytest.approx(augmentation.ZOOMED, abs=0.01)
    assert some.ground.isnan().all(dim=1).float().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.usefixtures("whole_images", "true_colours")
@pytest.mark.parametrize("place", [(0, 1), (1, 0), (0.5, 0.5)])
def test_an_image_shown_smaller_by_hand(place):
    """Half as wide, on a ground of one colour; the other image stays as it is."""
    pixels = some_pixels(2)
    views, colour = draw(2, generator()), torch.tensor([10.0, 200.0, 70.0])
    whole = augment(pixels, views, 24)
    one = replace(
        views,
        zoomed=torch.tensor([1.0, 0.5]),
        place=torch.tensor([(0.0, 0.0), place]),
        ground=colour.expand(2, 3),
    )
    shown = augment(pixels, one, 24)
    torch.testing.assert_close(shown[0], whole[0])
    left, top = (round(12 * share) for share in place)
    inside = shown[1, :, top : top + 12, left : left + 12].clone()
    # Of the four pixels around it, each pixel of the half takes these shares along a side.
    halves = torch.zeros(12, 26)
    for i in range(12):
        halves[i, 2 * i : 2 * i + 4] = torch.tensor([1.0, 3, 3, 1])
    halves = F.normalize(halves[:, 1:-1], p=1, dim=1)
    torch.testing.assert_close(inside, halves @ whole[1] @ halves.T, atol=1e-5, rtol=1e-5)
    shown[1, :, top : top + 12, left : left + 12] = torch.nan
    normal = ((colour / 255 - torch.tensor(MEAN)) / torch.tensor(STD))[:, None]
    outside = shown[1].flatten(1)
    outside = outside[:, ~outside[0].isnan()]
    torch.testing.assert_close(outside, normal.expand_as(outside))


@pytest.mark.usefixtures("whole_images", "true_colours")
def test_another_image_as_ground_is_blurred():
    pixels = torch.full((2, 24, 24, 3), 90, dtype=torch.uint8)
    pixels[1] = 200
    views = replace(
        draw(2, generator()),
        zoomed=torch.tensor([1.0, 0.5]),
        ground=torch.full((2, 3), torch.nan),
    )
    shown = augment(pixels, views, 24)
    bright, dark = prepare(pixels)[[1, 0], :, 0, 0]
    torch.testing.assert_close(shown[1, :, :12, :12], bright[:, None, None].expand(3, 12, 12))
    torch.testing.assert_close(shown[1, :, 12:], dark[:, None, None].expand(3, 12, 24))
    # The batch goes round: the image before the first is the last.
    first = augment(pixels, replace(views, zoomed=torch.tensor([0.5, 1.0])), 24)
    torch.testing.assert_close(first[0, :, 12:], bright[:, None, None].expand(3, 12, 24))
