"""Maps with PAMR: every map is averaged over nearby pixels of similar colour.

A map of the last layer is coarse. It is highest on what tells the class from others, not on the
whole object. Refinement spreads it to nearby pixels of similar colour, so that it follows the
outline of the object. Such a map says less about the network, because the outline comes from
the image.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.cam.activation import cam
from pokecam.cam.capture import Capture, at_least_float32
from pokecam.cam.gradient import grad_cam

# Chosen on drawn images by MaxBoxAccV2 (`benchmarks/boxes.py`). The authors take 10 steps with
# dilations of 1 to 24 and a temperature of 0.1, on images of six times this side.
SIDE_PX = 56  # the longer side of a map with PAMR
DILATIONS = (1, 2, 3, 4, 6, 8, 12, 16)
TEMPERATURE = 0.05
STEPS = 30


def pamr_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Refine `activation.cam`: (N, M, H, W), never negative."""
    return refine(captured.x, cam(captured, targets))


def pamr_grad_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Refine `gradient.grad_cam`: (N, M, H, W), never negative."""
    return refine(captured.x, grad_cam(captured, targets))


def refine(x: Tensor, maps: Tensor) -> Tensor:
    """Refine maps by pixel-adaptive mask refinement (PAMR).

    `STEPS` times, every pixel of relu(maps) becomes a weighted mean of its neighbours,

        m_i ← Σ_j α_ij m_j,  α_i = softmax_j(−mean over colours of |x_i − x_j| / (σ_i T))

    The neighbours j are the eight at each of `DILATIONS`. σ_i is the standard deviation of the
    colour over them and i, and T the temperature. Araslanov and Roth 2020, arXiv 2005.08104, §4.

    Args:
        x: (N, 3, S, S'), network input.
        maps: (N, M, h, w), raw.

    Returns:
        (N, M, H, W), with H : W = S : S'. The longer side is `SIDE_PX`, or that of the image if it
        is shorter. A map that is constant after ReLU stays constant.
    """
    positive = maps.relu()
    size = map_size(x.shape[-2:])
    # On the CPU, because not every device averages over areas of any size.
    alpha = _affinities(F.interpolate(at_least_float32(x.cpu()), size, mode="area").to(maps))
    result = F.interpolate(positive, size, mode="bilinear", antialias=True)
    for _ in range(STEPS):
        means = torch.zeros_like(result)
        for weight, neighbour in zip(alpha.unbind(1), _neighbours(result), strict=True):
            means.addcmul_(weight[:, None], neighbour)
        result = means
    # The weights sum to 1 only up to rounding, which would put a pattern into a constant map.
    lowest, highest = positive.amin((2, 3), keepdim=True), positive.amax((2, 3), keepdim=True)
    return torch.where(lowest == highest, highest, result)


def map_size(shape: Sequence[int]) -> list[int]:
    """Return the height and width of the map of an image (H, W): in its proportions, `SIDE_PX` on
    the longer side, or that of the image if it is shorter."""
    scale = min(1.0, SIDE_PX / max(shape))
    return [max(1, round(side * scale)) for side in shape]


def _affinities(x: Tensor) -> Tensor:
    """Return the weights α (N, J, H, W) of J neighbours, for colours x (N, 3, H, W)."""
    neighbours = torch.stack([*_neighbours(x)], dim=1)  # (N, J, 3, H, W)
    deviation = torch.cat([neighbours, x[:, None]], dim=1).std(dim=1, keepdim=True)
    scale = TEMPERATURE * deviation + torch.finfo(x.dtype).eps
    distance = (neighbours - x[:, None]).abs() / scale
    return (-distance.mean(dim=2)).softmax(dim=1)


def _neighbours(values: Tensor) -> Iterator[Tensor]:
    """Yield each of the eight neighbours of every pixel of (N, K, H, W), at one dilation after
    another. Beyond the border the outermost pixels are repeated.
    """
    H, W = values.shape[-2:]
    margin = max(DILATIONS)
    padded = F.pad(values, (margin,) * 4, mode="replicate")
    for dilation in DILATIONS:
        for dy, dx in product((margin - dilation, margin, margin + dilation), repeat=2):
            if (dy, dx) != (margin, margin):
                yield padded[..., dy : dy + H, dx : dx + W]
