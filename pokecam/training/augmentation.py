"""Random views of training images, a whole batch at a time on the device that trains."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.networks.classifier import MEAN, STD

AREA = (0.25, 1.0)  # fraction of the image that a view shows
ASPECT = (3 / 4, 4 / 3)  # width : height of that part
COLOUR = 0.2  # brightness, contrast and saturation are multiplied by 1 ± up to this much
ZOOMED = (0.4, 0.9)  # side of a view that is shown smaller : side of what is trained on
GROUND_CELLS = 4  # to a side, of another image that is blurred to be a ground
LUMA = (0.299, 0.587, 0.114)  # grey from red, green, blue (ITU-R BT.601)


@dataclass(frozen=True)
class Views:
    """What chance decided for n views; `views[rows]` are those of some.

    Point p of a view shows point scale · p + shift of its image; both run from -1 to 1 between
    the outer edges. A negative scale mirrors.
    """

    scale: Tensor  # (n, 2), x before y
    shift: Tensor  # (n, 2)
    colours: Tensor  # (n, 3): factors of saturation, contrast, brightness
    zoomed: Tensor  # (n,): side it is shown at : side of what is trained on; 1 as it is
    place: Tensor  # (n, 2) in [0, 1]: where on its ground, from the left and top to the right end
    ground: Tensor  # (n, 3): colour in [0, 255]; NaN: another image, blurred

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, rows: slice) -> "Views":
        return Views(**{name: values[rows] for name, values in vars(self).items()})


def draw(n: int, generator: torch.Generator, zoom_out: float = 0.0) -> Views:
    """n random views; `generator`, on the CPU so that all devices draw alike, decides all.

    zoom_out: the share of them that are shown smaller, on a ground that is not theirs.
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
    smaller = torch.rand(n, generator=generator) < zoom_out
    zoomed = torch.where(smaller, _uniform((n,), ZOOMED, generator), 1.0)
    place = torch.rand((n, 2), generator=generator)
    ground = _uniform((n, 3), (0, 255), generator)
    ground[torch.rand(n, generator=generator) < 0.5] = torch.nan
    return Views(scale, shift, colours, zoomed, place, ground)


def augment(pixels: Tensor, views: Views, size_px: int) -> Tensor:
    """One view of every image: cropped and stretched to a square, mirrored or not, its colours
    changed a little; some shown smaller, on a plain ground or on the view before, blurred. Before
    the first comes the last of `pixels`, so that what is shown depends on what is shown together.

    pixels: (N, S, S, 3) uint8. views: N of them.
    size_px: side T of the views.

    Returns network input (N, 3, T, T) float32, normalised as by `classifier.prepare`,
    channels_last.
    """
    planes = pixels.permute(0, 3, 1, 2).float()
    grid = sampling_grid(views.scale.to(pixels.device), views.shift.to(pixels.device), size_px)
    shown = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    changed = change_colours(shown, views.colours.to(pixels.device))
    _zoom_out(changed, views)
    return changed.contiguous(memory_format=torch.channels_last)


def _zoom_out(shown: Tensor, views: Views) -> None:
    """Show those of network input (N, 3, T, T) smaller that are to be, in place.

    A network that has seen objects fill the image does not know small ones (Touvron et al. 2019,
    arXiv 1906.06423), and what it sees around them must not matter.
    """
    if (views.zoomed == 1).all():
        return
    size_px = shown.shape[-1]
    before = shown.roll(1, dims=0).float()  # from bfloat16 there is no antialiasing
    plain = (views.ground / 255 - torch.tensor(MEAN)) / torch.tensor(STD)  # (N, 3)
    for i in torch.nonzero(views.zoomed < 1).flatten().tolist():
        side = max(1, round(size_px * float(views.zoomed[i])))
        left, top = ((size_px - side) * views.place[i]).round().int().tolist()
        whole = shown[i : i + 1].float()
        smaller = F.interpolate(whole, (side, side), mode="bilinear", antialias=True)
        if plain[i].isnan().any():
            # On the CPU: not every device averages over areas of any size.
            cells = F.adaptive_avg_pool2d(before[i : i + 1].cpu(), GROUND_CELLS).to(before.device)
            shown[i] = F.interpolate(cells, (size_px, size_px), mode="bilinear")[0]
        else:
            shown[i] = plain[i, :, None, None].to(shown)
        shown[i, :, top : top + side, left : left + side] = smaller[0]


def sampling_grid(scale: Tensor, shift: Tensor, size_px: int) -> Tensor:
    """Where in its image each of T × T pixels of a view lies: (n, T, T, 2), x before y.

    What `affine_grid` gives, without its matrix product over every pixel, which cost as much as
    sampling does.
    """
    centres = (torch.arange(size_px, device=scale.device) * 2 + 1) / size_px - 1  # (T,)
    x, y = (centres * scale[:, :, None] + shift[:, :, None]).unbind(dim=1)  # (n, T) each
    grid = torch.empty(len(scale), size_px, size_px, 2, device=scale.device)
    grid[..., 0] = x[:, None, :]
    grid[..., 1] = y[:, :, None]
    return grid


def change_colours(planes: Tensor, factors: Tensor) -> Tensor:
    """Other saturation, contrast and brightness, then normalisation.

    planes: (N, 3, T, T) float in [0, 255]; the result is not clipped to that range.
    factors: (N, 3), of saturation, contrast and brightness.

    All of it is linear, so it is one 3 × 3 matrix and one offset an image:
    saturation mixes each pixel with its grey, contrast moves it from the image's mean grey,
    brightness multiplies.
    """
    device = planes.device
    saturation, contrast, brightness = factors[:, :, None, None].unbind(dim=1)  # (N, 1, 1) each
    luma, mean, std = (torch.tensor(rgb, device=device).view(3, 1) for rgb in (LUMA, MEAN, STD))
    saturate = saturation * torch.eye(3, device=device) + (1 - saturation) * luma.T  # (N, 3, 3)
    mean_grey = (planes.mean(dim=(2, 3)) @ luma)[:, :, None]  # (N, 1, 1)
    matrix = brightness * contrast * saturate
    offset = brightness * (1 - contrast) * mean_grey
    flat = planes.flatten(2)  # (N, 3, T·T)
    changed = torch.baddbmm(offset / (255 * std) - mean / std, matrix / (255 * std), flat)
    return changed.view_as(planes)


def _uniform(
    shape: tuple[int, ...], ends: tuple[float, float], generator: torch.Generator
) -> Tensor:
    low, high = ends
    return low + (high - low) * torch.rand(shape, generator=generator)
