"""Baselines: maps that do not depend on the network. Every method should be better than them."""

import zlib

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.cam.capture import Capture, at_least_float32

CENTRE_WIDTH = 0.25  # standard deviation of the Gaussian, as a fraction of the side


def random(captured: Capture, targets: Tensor) -> Tensor:
    """Every pixel uniform in [0, 1), seeded by the image.

    The map has the resolution of A, so that its heatmap is as smooth as those of the methods.

    Args:
        captured: N images.
        targets: not used.

    Returns:
        (N, 1, h, w).
    """
    h, w = captured.activations.shape[2:]
    maps = []
    for image in captured.x.cpu():
        seed = zlib.crc32(image.contiguous().view(torch.uint8).numpy().tobytes())
        maps.append(torch.rand(1, h, w, generator=torch.Generator().manual_seed(seed)))
    return torch.stack(maps).to(captured.x.device)


def centre(captured: Capture, targets: Tensor) -> Tensor:
    """A Gaussian at the centre, exp(−r² / 2σ²) with σ = `CENTRE_WIDTH` of the side.

    Args:
        captured: N images.
        targets: not used.

    Returns:
        (N, 1, h, w).
    """
    h, w = captured.activations.shape[2:]
    y, x = (
        (torch.arange(side, device=captured.x.device) + 0.5) / side - 0.5 for side in (h, w)
    )  # distance from the centre, as a fraction of the side
    gaussian = torch.exp(-(y[:, None] ** 2 + x**2) / (2 * CENTRE_WIDTH**2))
    return gaussian.expand(len(captured.x), 1, h, w)


def edges(captured: Capture, targets: Tensor) -> Tensor:
    """The magnitude of the Sobel gradient of the image, averaged over its channels first.

    The map has the resolution of the image.

    Args:
        captured: N images.
        targets: not used.

    Returns:
        (N, 1, S, S).
    """
    grey = at_least_float32(captured.x).mean(dim=1, keepdim=True)
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(grey)
    kernels = torch.stack([sobel, sobel.T])[:, None]  # (2, 1, 3, 3)
    slopes = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
    return slopes.square().sum(dim=1, keepdim=True).sqrt()
