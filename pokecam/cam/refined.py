"""Maps fitted to the image: near pixels of like colour share what a map gives them.

A map of the last layer is coarse, and highest on what tells a class apart, not on all of the
object. Spread to what looks alike around it, it says better where the object ends, and with that
less about the network: what is added comes from the image.
"""

from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.cam.activation import cam
from pokecam.cam.capture import Capture
from pokecam.cam.gradient import grad_cam

# Chosen on drawn images by MaxBoxAccV2 (`benchmarks/boxes.py`). The authors take 10 steps with
# dilations of 1 to 24 and a temperature of 0.1, on images of six times this side.
SIDE_PX = 56  # of the longer side of a refined map
DILATIONS = (1, 2, 3, 4, 6, 8, 12, 16)
TEMPERATURE = 0.05
STEPS = 30


def refined_cam(captured: Capture, targets: Tensor) -> Tensor:
    """`cam`, refined: (N, M, H, W), never negative."""
    return refine(captured.x, cam(captured, targets))


def refined_grad_cam(captured: Capture, targets: Tensor) -> Tensor:
    """`grad_cam`, refined: (N, M, H, W), never negative."""
    return refine(captured.x, grad_cam(captured, targets))


def refine(x: Tensor, maps: Tensor) -> Tensor:
    """Pixel-adaptive mask refinement (PAMR): `STEPS` times, every pixel of relu(maps) becomes a
    mean of its neighbours,

        m_i ← Σ_j α_ij m_j,  α_i = softmax_j(−mean over colours of |x_i − x_j| / (σ_i T))

    with j the eight neighbours at each of `DILATIONS`, σ_i the standard deviation of the colour
    over them and i, and T the temperature. Araslanov and Roth 2020, arXiv 2005.08104, §4.

    x: (N, 3, S, S') input of the network. maps: (N, M, h, w).
    Returns (N, M, H, W), H and W in proportion to S and S', the longer `SIDE_PX` or the image's
    own if that is less. A map without differences stays without.
    """
    positive = maps.relu()
    shrunk = min(1.0, SIDE_PX / max(x.shape[-2:]))
    size = [max(1, round(side * shrunk)) for side in x.shape[-2:]]
    # On the CPU: not every device averages over areas of any size.
    alpha = _affinities(F.interpolate(x.cpu(), size, mode="area").to(maps))
    result = F.interpolate(positive, size, mode="bilinear", antialias=True)
    for _ in range(STEPS):
        spread = torch.zeros_like(result)
        for weight, neighbour in zip(alpha.unbind(1), _neighbours(result), strict=True):
            spread.addcmul_(weight[:, None], neighbour)
        result = spread
    # Weights sum to 1 but for rounding, which would become a pattern where there is none.
    lowest, highest = positive.amin((2, 3), keepdim=True), positive.amax((2, 3), keepdim=True)
    return torch.where(lowest == highest, highest, result)


def _affinities(x: Tensor) -> Tensor:
    """α (N, J, H, W) of colours x (N, 3, H, W), J neighbours."""
    around = torch.stack([*_neighbours(x)], dim=1)  # (N, J, 3, H, W)
    spread = torch.cat([around, x[:, None]], dim=1).std(dim=1, keepdim=True)
    distance = (around - x[:, None]).abs() / (TEMPERATURE * spread + torch.finfo(x.dtype).eps)
    return (-distance.mean(dim=2)).softmax(dim=1)


def _neighbours(values: Tensor) -> Iterator[Tensor]:
    """The eight neighbours of every pixel of (N, K, H, W) at each dilation, in turn; beyond the
    border it goes on as it ends."""
    H, W = values.shape[-2:]
    margin = max(DILATIONS)
    padded = F.pad(values, (margin,) * 4, mode="replicate")
    for by in DILATIONS:
        for dy, dx in product((margin - by, margin, margin + by), repeat=2):
            if (dy, dx) != (margin, margin):
                yield padded[..., dy : dy + H, dx : dx + W]
