"""Random views of training images, for a whole batch at once, on the device that trains."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.networks.classifier import MEAN, STD

AREA = (0.25, 1.0)  # area of the window that a view shows : area of the image
ASPECT = (3 / 4, 4 / 3)  # width : height of the window
COLOUR = 0.2  # brightness, contrast and saturation are multiplied by 1 ± this at most
ZOOM = (0.4, 0.9)  # side of a window that is shown smaller : side of the view
BACKGROUND_CELLS = 4  # cells a side to which an image is averaged to become a background
LUMA = (0.299, 0.587, 0.114)  # grey from red, green, blue (ITU-R BT.601)


@dataclass(frozen=True)
class Views:
    """The sampled values of n views. `views[rows]` are the views of a slice.

    Each view shows a window of its image: point p of the view is point scale · p + shift of the
    image. Both have coordinates from −1 to 1 between the outer edges, x before y.

    Attributes:
        scale: (n, 2). A negative value mirrors.
        shift: (n, 2).
        colours: (n, 3), the factors of saturation, contrast and brightness.
        zoom: (n,), the side of the window as a fraction of the side of the view. Where it is
            below 1, a background is visible around the window.
        position: (n, 2) in [0, 1], where on its background the window is, from left to right and
            from top to bottom.
        background: (n, 3), its colour in [0, 255]. NaN stands for another image, blurred.
    """

    scale: Tensor
    shift: Tensor
    colours: Tensor
    zoom: Tensor
    position: Tensor
    background: Tensor

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, rows: slice | Tensor) -> "Views":
        return Views(**{name: values[rows] for name, values in vars(self).items()})

    def to(self, device: torch.device | str) -> "Views":
        return Views(**{name: values.to(device) for name, values in vars(self).items()})


def sample_views(n: int, generator: torch.Generator, zoom_out: float = 0.0) -> Views:
    """Sample the random values of n views.

    Args:
        n: the number of views.
        generator: decides everything. It is on the CPU, so that all devices get the same views.
        zoom_out: the share of views that show their window smaller, on a background of another
            origin.
    """
    area = _uniform((n,), AREA, generator)
    aspect = _uniform((n,), (math.log(ASPECT[0]), math.log(ASPECT[1])), generator).exp()
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    room = 1 - torch.stack([width, height], dim=1)
    shift = room * _uniform((n, 2), (-1, 1), generator)
    mirror = torch.randint(0, 2, (n,), generator=generator) * 2 - 1
    scale = torch.stack([width * mirror, height], dim=1)
    colours = _uniform((n, 3), (1 - COLOUR, 1 + COLOUR), generator)
    if zoom_out == 0:
        return Views(scale, shift, colours, torch.ones(n), torch.zeros(n, 2), torch.zeros(n, 3))
    is_smaller = torch.rand(n, generator=generator) < zoom_out
    zoom = torch.where(is_smaller, _uniform((n,), ZOOM, generator), 1.0)
    position = torch.rand((n, 2), generator=generator)
    background = _uniform((n, 3), (0, 255), generator)
    background[torch.rand(n, generator=generator) < 0.5] = torch.nan
    return Views(scale, shift, colours, zoom, position, background)


def augment(pixels: Tensor, views: Views, size_px: int, *, zooms: bool = True) -> Tensor:
    """Compute one view of every image.

    An image is cropped and stretched to a square, may be mirrored, and its colours change a
    little. Some views are then made smaller, on a background of one colour, or on the view of the
    image before it in the batch, blurred. The last image counts as the one before the first.

    Args:
        pixels: (N, S, S, 3) uint8.
        views: N views, on any device.
        size_px: side T of the views.
        zooms: whether a view may be smaller. To look that up in `views` makes a GPU wait.

    Returns:
        Network input (N, 3, T, T) float32, normalised as by `classifier.prepare`, in memory
        format channels_last.
    """
    planes = pixels.permute(0, 3, 1, 2).float()
    scale, shift, colours = (
        values.to(pixels.device) for values in (views.scale, views.shift, views.colours)
    )
    grid = sampling_grid(scale, shift, size_px)
    windows = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    x = change_colours(windows, colours)
    if zooms:
        _zoom_out(x, views.to("cpu"))
    return x.contiguous(memory_format=torch.channels_last)


def _zoom_out(x: Tensor, views: Views) -> None:
    """Make the windows of network input (N, 3, T, T) smaller as `views.zoom` says, in place.

    A network that was trained on large objects alone does not recognise small ones (Touvron et
    al. 2019, arXiv 1906.06423). Random backgrounds teach it to ignore what surrounds an object.
    """
    if (views.zoom == 1).all():
        return
    size_px = x.shape[-1]
    previous = x.roll(1, dims=0).float()  # bfloat16 cannot be resized with antialiasing
    colours = (views.background / 255 - torch.tensor(MEAN)) / torch.tensor(STD)  # (N, 3)
    for i in torch.nonzero(views.zoom < 1).flatten().tolist():
        side = max(1, round(size_px * float(views.zoom[i])))
        left, top = ((size_px - side) * views.position[i]).round().int().tolist()
        window = x[i : i + 1].float()
        smaller = F.interpolate(window, (side, side), mode="bilinear", antialias=True)
        if colours[i].isnan().any():
            # On the CPU, because not every device can average over areas of any size.
            cells = F.adaptive_avg_pool2d(previous[i : i + 1].cpu(), BACKGROUND_CELLS)
            x[i] = F.interpolate(cells.to(x.device), (size_px, size_px), mode="bilinear")[0]
        else:
            x[i] = colours[i, :, None, None].to(x)
        x[i, :, top : top + side, left : left + side] = smaller[0]


def sampling_grid(scale: Tensor, shift: Tensor, size_px: int) -> Tensor:
    """Return the point of its image that each of the T × T pixels of a view shows.

    It equals `torch.nn.functional.affine_grid`, but needs no matrix product for every pixel, which
    took as long as the sampling itself.

    Args:
        scale: (n, 2), as in `Views`.
        shift: (n, 2), as in `Views`.
        size_px: T.

    Returns:
        (n, T, T, 2), x before y.
    """
    centres = (torch.arange(size_px, device=scale.device) * 2 + 1) / size_px - 1  # (T,)
    x, y = (centres * scale[:, :, None] + shift[:, :, None]).unbind(dim=1)  # (n, T) each
    grid = torch.empty(len(scale), size_px, size_px, 2, device=scale.device)
    grid[..., 0] = x[:, None, :]
    grid[..., 1] = y[:, :, None]
    return grid


def change_colours(planes: Tensor, factors: Tensor) -> Tensor:
    """Change saturation, contrast and brightness, then normalise as `classifier.prepare` does.

    Saturation mixes each pixel with its grey, contrast moves it away from the mean grey of the
    image, and brightness multiplies it. All steps are linear, so together they are one 3 × 3
    matrix and one offset for each image.

    Args:
        planes: (N, 3, T, T) float in [0, 255]. Changed colours are not clipped to this range.
        factors: (N, 3), of saturation, contrast and brightness.

    Returns:
        (N, 3, T, T) float32.
    """
    device = planes.device
    saturation, contrast, brightness = factors[:, :, None, None].unbind(dim=1)  # (N, 1, 1) each
    luma, mean, std = _constants(device)
    saturate = saturation * torch.eye(3, device=device) + (1 - saturation) * luma.T  # (N, 3, 3)
    mean_grey = (planes.mean(dim=(2, 3)) @ luma)[:, :, None]  # (N, 1, 1)
    matrix = brightness * contrast * saturate
    offset = brightness * (1 - contrast) * mean_grey
    flat = planes.flatten(2)  # (N, 3, T·T)
    changed = torch.baddbmm(offset / (255 * std) - mean / std, matrix / (255 * std), flat)
    return changed.view_as(planes)


@lru_cache  # a copy from the host, in every step, would make a GPU wait
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return `LUMA`, `MEAN` and `STD`, (3, 1) each."""
    luma, mean, std = (torch.tensor(rgb, device=device).view(3, 1) for rgb in (LUMA, MEAN, STD))
    return luma, mean, std


def _uniform(
    shape: tuple[int, ...], ends: tuple[float, float], generator: torch.Generator
) -> Tensor:
    low, high = ends
    return low + (high - low) * torch.rand(shape, generator=generator)
