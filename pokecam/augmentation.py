"""Random views of training pictures, a whole batch at a time on the device that trains."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.classifier import MEAN, STD

AREA = (0.5, 1.0)  # fraction of the picture that a view shows
ASPECT = (3 / 4, 4 / 3)  # width : height of that part
COLOUR = 0.2  # brightness, contrast and saturation are multiplied by 1 ± up to this much
LUMA = (0.299, 0.587, 0.114)  # grey from red, green, blue (ITU-R BT.601)


def augment(pixels: Tensor, size_px: int, generator: torch.Generator) -> Tensor:
    """Random view of every picture: crop and stretch to a square, mirror, change colours a little.

    pixels: (N, S, S, 3) uint8.
    size_px: side T of the views.
    generator: decides everything, on the CPU, so that all devices draw alike.

    Returns network input (N, 3, T, T) float32, normalised as by `classifier.prepare`,
    channels_last.
    """
    scale, shift = (part.to(pixels.device) for part in crop_windows(len(pixels), generator))
    planes = pixels.permute(0, 3, 1, 2).float()
    grid = sampling_grid(scale, shift, size_px)
    views = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return change_colours(views, generator).contiguous(memory_format=torch.channels_last)


def crop_windows(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n random windows, half of them mirrored: scale and shift, both (n, 2) for x and y.

    Point p of a view shows point scale · p + shift of its picture; both run from -1 to 1 between
    the outer edges.
    """
    area = _uniform(n, AREA, generator)
    aspect = _uniform(n, (math.log(ASPECT[0]), math.log(ASPECT[1])), generator).exp()
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    room = 1 - torch.stack([width, height], dim=1)
    shift = room * torch.stack([_uniform(n, (-1, 1), generator) for _ in range(2)], dim=1)
    mirror = torch.randint(0, 2, (n,), generator=generator) * 2 - 1
    return torch.stack([width * mirror, height], dim=1), shift


def sampling_grid(scale: Tensor, shift: Tensor, size_px: int) -> Tensor:
    """Where in its picture each of T × T pixels of a view lies: (n, T, T, 2), x before y.

    What `affine_grid` gives, without its matrix product over every pixel, which cost as much as
    sampling does.
    """
    centres = (torch.arange(size_px, device=scale.device) * 2 + 1) / size_px - 1  # (T,)
    x, y = (centres * scale[:, :, None] + shift[:, :, None]).unbind(dim=1)  # (n, T) each
    grid = torch.empty(len(scale), size_px, size_px, 2, device=scale.device)
    grid[..., 0] = x[:, None, :]
    grid[..., 1] = y[:, :, None]
    return grid


def change_colours(planes: Tensor, generator: torch.Generator) -> Tensor:
    """Random saturation, contrast and brightness, then normalisation.

    planes: (N, 3, T, T) float in [0, 255]; the result is not clipped to that range.

    All of it is linear, so it is one 3 × 3 matrix and one offset a picture:
    saturation mixes each pixel with its grey, contrast moves it from the picture's mean grey,
    brightness multiplies.
    """
    n = len(planes)
    device = planes.device
    saturation, contrast, brightness = (
        _uniform(n, (1 - COLOUR, 1 + COLOUR), generator).to(device).view(n, 1, 1) for _ in range(3)
    )
    luma, mean, std = (torch.tensor(rgb, device=device).view(3, 1) for rgb in (LUMA, MEAN, STD))
    saturate = saturation * torch.eye(3, device=device) + (1 - saturation) * luma.T  # (N, 3, 3)
    mean_grey = (planes.mean(dim=(2, 3)) @ luma).view(n, 1, 1)
    matrix = brightness * contrast * saturate
    offset = brightness * (1 - contrast) * mean_grey
    flat = planes.flatten(2)  # (N, 3, T·T)
    changed = torch.baddbmm(offset / (255 * std) - mean / std, matrix / (255 * std), flat)
    return changed.view_as(planes)


def _uniform(n: int, ends: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = ends
    return low + (high - low) * torch.rand(n, generator=generator)
