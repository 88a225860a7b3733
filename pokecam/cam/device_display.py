"""What `display` does, on the device that the maps are on."""

from functools import lru_cache

import torch
from torch import Tensor

from pokecam.cam.capture import without_autocast
from pokecam.cam.display import interpolation


@torch.no_grad()
def display_on_device(maps: Tensor, height: int, width: int) -> Tensor:
    """Turn raw maps into heatmaps, as `display.display` does.

    Only the result is copied to the host then, and nothing waits for it before.

    Args:
        maps: (…, h, w), raw, on any device.
        height: in px.
        width: in px.

    Returns:
        (…, height, width) float32 in [0, 1], on the same device. They differ from those of
        `display` by rounding.
    """
    with without_autocast(maps.device):
        positive = maps.float().relu()
        low, high = (limit[..., None, None] for limit in positive.flatten(-2).aminmax(dim=-1))
        rows, columns = (
            _interpolation(small, large, maps.device)
            for small, large in ((maps.shape[-2], height), (maps.shape[-1], width))
        )
        large = rows @ positive @ columns.T
        highest = large.amax(dim=(-2, -1), keepdim=True)
        return torch.where((low < high) & (highest > 0), large / highest, 0)


@lru_cache  # a copy from the host, in every call, would make a GPU wait
def _interpolation(small: int, large: int, device: torch.device) -> Tensor:
    return torch.from_numpy(interpolation(small, large)).to(device)
