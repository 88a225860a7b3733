"""Strongly distorted random views for pretraining, computed in batches on the training device.

Random numbers are drawn on the CPU. They are copied to a GPU without waiting for it, so it never
runs out of work.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.networks.classifier import MEAN, STD

LUMA = (0.299, 0.587, 0.114)  # grey from red, green, blue (ITU-R BT.601)


@dataclass(frozen=True)
class Distortion:
    """How much the views differ from the images.

    Attributes:
        area: range of the area of the window, as a fraction of that of the image. Above 1 the view
            has margins.
        aspect: the largest ratio of width to height, and of height to width.
        turn_deg: the largest rotation, in both directions.
        brightness, contrast, saturation: the largest change of the factor 1, up and down.
        tint: the same, for each colour channel.
        grey: the probability that a view has no colours.
        blur: the probability that a view is blurred.
        hole: the probability that a view has a patch of noise.
        hole_side: range of the side of that patch, as a fraction of the side of the view.
    """

    area: tuple[float, float] = (0.7, 1.15)
    aspect: float = 4 / 3
    turn_deg: float = 12.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.3
    tint: float = 0.05
    grey: float = 0.03
    blur: float = 0.05
    hole: float = 0.05
    hole_side: tuple[float, float] = (0.15, 0.4)


def distort(
    pixels: Tensor, size_px: int, generator: torch.Generator, distortion: Distortion | None = None
) -> Tensor:
    """Compute a random view of every image.

    Args:
        pixels: (N, S, S, 3) uint8.
        size_px: side T of the views.
        generator: decides everything random. It is on the CPU, so that the views are the same on
            all devices.
        distortion: how strong it is. None: the default.

    Returns:
        Network input (N, 3, T, T) float32, normalised, channels_last.
    """
    distortion = distortion or Distortion()
    planes = pixels.permute(0, 3, 1, 2).float().div_(255)
    matrix = windows(len(planes), distortion, generator).to(planes.device, non_blocking=True)
    grid = F.affine_grid(matrix, [len(planes), 3, size_px, size_px], align_corners=False)
    views = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    views = _recolour(views, distortion, generator)
    views = _blur(views, distortion, generator)
    views = _add_holes(views, distortion, generator)
    mean, std = (_constant(rgb, views.device).view(3, 1, 1) for rgb in (MEAN, STD))
    return ((views - mean) / std).contiguous(memory_format=torch.channels_last)


def windows(n: int, distortion: Distortion, generator: torch.Generator) -> Tensor:
    """Return random windows of images. All are rotated, half of them are mirrored.

    Args:
        n: how many windows.
        distortion: how much they differ from the image.
        generator: on the CPU.

    Returns:
        (n, 2, 3), affine matrices from points of the view to points of the image. Both have
        coordinates from −1 to 1 between the outer edges.
    """
    side = _uniform(n, *distortion.area, generator).sqrt()
    log_aspect = math.log(distortion.aspect)
    ratio = _uniform(n, -log_aspect, log_aspect, generator).div(2).exp()
    width, height = side * ratio, side / ratio
    turn = torch.deg2rad(_uniform(n, -distortion.turn_deg, distortion.turn_deg, generator))
    mirror = torch.randint(0, 2, (n,), generator=generator) * 2.0 - 1
    across, down = (
        (1 - extent).abs() * _uniform(n, -1, 1, generator) for extent in (width, height)
    )
    rows = (
        (width * turn.cos() * mirror, -height * turn.sin(), across),
        (width * turn.sin() * mirror, height * turn.cos(), down),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _recolour(views: Tensor, distortion: Distortion, generator: torch.Generator) -> Tensor:
    """Change saturation (to 0 in grey views), contrast, brightness and tint, with one 3 × 3 matrix
    for each image."""
    n, device = len(views), views.device
    saturation = _around_one(n, distortion.saturation, generator)
    saturation = torch.where(torch.rand(n, generator=generator) < distortion.grey, 0.0, saturation)
    contrast = _around_one(n, distortion.contrast, generator)
    gain = _around_one(n, distortion.brightness, generator)[:, None]
    gain = gain * _uniform(3 * n, 1 - distortion.tint, 1 + distortion.tint, generator).view(n, 3)
    saturation, contrast, gain = (
        factor.to(device, non_blocking=True)
        for factor in (saturation.view(n, 1, 1), contrast.view(n, 1, 1), gain)
    )
    luma = _constant(LUMA, device)
    matrix = saturation * torch.eye(3, device=device) + (1 - saturation) * luma  # (n, 3, 3)
    grey = (views.mean(dim=(2, 3)) @ luma).view(n, 1, 1)
    recoloured = torch.baddbmm((1 - contrast) * grey, contrast * matrix, views.flatten(2))
    return (recoloured * gain[..., None]).clamp_(0, 1).view_as(views)


def _blur(views: Tensor, distortion: Distortion, generator: torch.Generator) -> Tensor:
    """Apply a 5 × 5 binomial filter to a random subset of the views."""
    rows = _random_rows(len(views), distortion.blur, generator)
    if len(rows):
        weights = _constant((1.0, 4.0, 6.0, 4.0, 1.0), views.device) / 16
        rows = rows.to(views.device, non_blocking=True)
        blurred = views[rows]
        for kernel in (weights.view(1, 1, 5, 1), weights.view(1, 1, 1, 5)):
            padding = (2, 0) if kernel.shape[2] == 5 else (0, 2)
            blurred = F.conv2d(blurred, kernel.expand(3, 1, -1, -1), padding=padding, groups=3)
        views[rows] = blurred
    return views


def _add_holes(views: Tensor, distortion: Distortion, generator: torch.Generator) -> Tensor:
    """Put a square of noise, around a random colour, into a random subset of the views."""
    size_px = views.shape[-1]
    for row in _random_rows(len(views), distortion.hole, generator).tolist():
        side = max(1, round(float(_uniform(1, *distortion.hole_side, generator)) * size_px))
        left, top = torch.randint(0, size_px - side + 1, (2,), generator=generator).tolist()
        colour = torch.rand(3, 1, 1, generator=generator)
        noise = colour + 0.2 * torch.randn(3, side, side, generator=generator)
        views[row, :, top : top + side, left : left + side] = noise.to(
            views.device, non_blocking=True
        )
    return views


def _constant(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers).to(device, non_blocking=True)


def _random_rows(n: int, probability: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(n, generator=generator) < probability).nonzero()[:, 0]


def _around_one(n: int, amount: float, generator: torch.Generator) -> Tensor:
    return _uniform(n, 1 - amount, 1 + amount, generator)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)
