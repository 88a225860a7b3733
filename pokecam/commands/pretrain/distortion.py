"""Strong random views for pretraining, a whole batch at a time on the device that trains."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.networks.classifier import MEAN, STD

LUMA = (0.299, 0.587, 0.114)  # grey from red, green, blue (ITU-R BT.601)


@dataclass(frozen=True)
class Distortion:
    """How strong the views differ: ranges, largest ± amounts, and chances of one image."""

    area: tuple[float, float] = (0.7, 1.15)  # of the window over the image's; beyond 1: margins
    aspect: float = 4 / 3  # width : height up to this, or its inverse
    turn_deg: float = 12.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.3
    tint: float = 0.05  # of each colour channel
    grey: float = 0.03
    blur: float = 0.05
    hole: float = 0.05  # chance of a patch of noise
    hole_side: tuple[float, float] = (0.15, 0.4)  # of that patch over the view's side


def distort(
    pixels: Tensor, size_px: int, generator: torch.Generator, how: Distortion | None = None
) -> Tensor:
    """Random view of every image.

    pixels     (N, S, S, 3) uint8
    size_px    side T of the views
    generator  decides everything, on the CPU, so that all devices draw alike

    Returns network input (N, 3, T, T) float32, normalised, channels_last.
    """
    how = how or Distortion()
    planes = pixels.permute(0, 3, 1, 2).float().div_(255)
    matrix = windows(len(planes), how, generator).to(planes.device)
    grid = F.affine_grid(matrix, [len(planes), 3, size_px, size_px], align_corners=False)
    views = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    views = _recolour(views, how, generator)
    views = _blur(views, how, generator)
    views = _pierce(views, how, generator)
    mean, std = (torch.tensor(rgb, device=views.device).view(3, 1, 1) for rgb in (MEAN, STD))
    return ((views - mean) / std).contiguous(memory_format=torch.channels_last)


def windows(n: int, how: Distortion, generator: torch.Generator) -> Tensor:
    """n random windows, turned and half of them mirrored: affine matrices (n, 2, 3) from points of
    the view to points of the image, both from −1 to 1 between the outer edges."""
    side = _uniform(n, *how.area, generator).sqrt()
    bend = _uniform(n, -math.log(how.aspect), math.log(how.aspect), generator).div(2).exp()
    width, height = side * bend, side / bend
    turn = torch.deg2rad(_uniform(n, -how.turn_deg, how.turn_deg, generator))
    mirror = torch.randint(0, 2, (n,), generator=generator) * 2.0 - 1
    across, down = (
        (1 - extent).abs() * _uniform(n, -1, 1, generator) for extent in (width, height)
    )
    rows = (
        (width * turn.cos() * mirror, -height * turn.sin(), across),
        (width * turn.sin() * mirror, height * turn.cos(), down),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _recolour(views: Tensor, how: Distortion, generator: torch.Generator) -> Tensor:
    """Saturation (to none for some), contrast, brightness and tint: one 3 × 3 matrix an image."""
    n, device = len(views), views.device
    saturation = _around_one(n, how.saturation, generator)
    saturation = torch.where(torch.rand(n, generator=generator) < how.grey, 0.0, saturation)
    contrast = _around_one(n, how.contrast, generator)
    gain = _around_one(n, how.brightness, generator)[:, None]
    gain = gain * _uniform(3 * n, 1 - how.tint, 1 + how.tint, generator).view(n, 3)
    saturation, contrast, gain = (
        factor.to(device) for factor in (saturation.view(n, 1, 1), contrast.view(n, 1, 1), gain)
    )
    luma = torch.tensor(LUMA, device=device)
    mixing = saturation * torch.eye(3, device=device) + (1 - saturation) * luma  # (N, 3, 3)
    grey = (views.mean(dim=(2, 3)) @ luma).view(n, 1, 1)
    changed = torch.baddbmm((1 - contrast) * grey, contrast * mixing, views.flatten(2))
    return (changed * gain[..., None]).clamp_(0, 1).view_as(views)


def _blur(views: Tensor, how: Distortion, generator: torch.Generator) -> Tensor:
    """A 5 × 5 binomial filter on some of the views."""
    chosen = _some(len(views), how.blur, generator)
    if len(chosen):
        line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=views.device) / 16
        soft = views[chosen.to(views.device)]
        for kernel in (line.view(1, 1, 5, 1), line.view(1, 1, 1, 5)):
            padding = (2, 0) if kernel.shape[2] == 5 else (0, 2)
            soft = F.conv2d(soft, kernel.expand(3, 1, -1, -1), padding=padding, groups=3)
        views[chosen.to(views.device)] = soft
    return views


def _pierce(views: Tensor, how: Distortion, generator: torch.Generator) -> Tensor:
    """A square of noise somewhere in some of the views, around a random colour."""
    size_px = views.shape[-1]
    for i in _some(len(views), how.hole, generator).tolist():
        side = max(1, round(float(_uniform(1, *how.hole_side, generator)) * size_px))
        left, top = torch.randint(0, size_px - side + 1, (2,), generator=generator).tolist()
        colour = torch.rand(3, 1, 1, generator=generator)
        noise = colour + 0.2 * torch.randn(3, side, side, generator=generator)
        views[i, :, top : top + side, left : left + side] = noise.to(views.device)
    return views


def _some(n: int, chance: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(n, generator=generator) < chance).nonzero()[:, 0]


def _around_one(n: int, amount: float, generator: torch.Generator) -> Tensor:
    return _uniform(n, 1 - amount, 1 + amount, generator)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)
