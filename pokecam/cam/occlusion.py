"""Occlusion: how far the score falls when a region of the image is filled in.

This asks the network directly, and no layer has to be chosen. The regions are superpixels, whose
borders follow those of the image, so that a region seldom has pixels of two parts of an object.
Zeiler and Fergus 2014 (ECCV), §3.2, move a grey square over the image instead. A square leaves a
hole, which is a feature of its own; here regions are filled in from their surroundings.
"""

import warnings
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb, slic
from torch import Tensor

from pokecam.cam.capture import Capture, at_least_float32
from pokecam.cam.imputation import impute
from pokecam.cam.pamr import map_size
from pokecam.cam.perturbation import AT_ONCE

# Chosen on drawn images of another drawing seed than the default (docs/measurements.md). Lengths
# and areas are those in an image with a side of 224 px; `_scale` brings them to other sides.
SIDE_PX = 224
MARGIN_PX = 3  # regions are filled in with as many more pixels: edges would show their shape
QUICK_LIMIT = 29  # regions of an image, so that there are 30 forward passes with the first one
FINE_LIMIT = 48  # regions of each of two segmentations

Image = NDArray[np.floating]  # (H, W, channels) in [0, 1]
Labels = NDArray[np.integer]  # (H, W), the number of the region of every pixel
Masks = NDArray[np.bool_]  # (n, H, W), which pixels belong to each region


def occlusion(captured: Capture, targets: Tensor) -> Tensor:
    """Compute the fall of the score S without each region r, per pixel of the region,

        L = (S − S without r) / area of r,  on every pixel of r

    The regions are those of `by_similarity`, at most `QUICK_LIMIT`. If there are more, those are
    left out whose filling-in changes the image least, and L is 0 there. All targets share the
    forward passes. Maps of two classes may be subtracted: the difference is the fall of the margin.
    Pixels are averaged to the size of `pamr.map_size`, so that maps of all classes can be stored.

    Args:
        captured: N images.
        targets: (M, N, C), as in `gradient`.

    Returns:
        (N, M, h, w), signed.
    """
    return _maps(captured, targets, [by_similarity], QUICK_LIMIT)


def fine_occlusion(captured: Capture, targets: Tensor) -> Tensor:
    """Compute the mean of `occlusion` over two segmentations, of which each corrects the other:
    `by_similarity`, and the compact regions of `by_distance`. At most `FINE_LIMIT` regions each.

    Args:
        captured: N images.
        targets: (M, N, C), as in `gradient`.

    Returns:
        (N, M, h, w), signed.
    """
    return _maps(captured, targets, [by_similarity, by_distance], FINE_LIMIT)


def by_similarity(image: Image) -> Labels:
    """Divide an image into regions of similar colour, of any shape and size.

    Felzenszwalb and Huttenlocher 2004 (IJCV), at 224 px with k = 200, σ = 0.8 px, and regions of at
    least 150 px.
    """
    scale = _scale(image.shape)
    with warnings.catch_warnings():  # that an image of other than three channels may be a volume
        warnings.simplefilter("ignore")
        return felzenszwalb(
            image,
            scale=200 * scale**2,
            sigma=0.8 * scale,
            min_size=max(1, round(150 * scale**2)),
            channel_axis=-1,
        )


def by_distance(image: Image) -> Labels:
    """Divide an image into about 60 compact regions, which are small where colours vary.

    SLIC, Achanta et al. 2012 (TPAMI).
    """
    return slic(image, n_segments=60, compactness=10, start_label=0, channel_axis=-1)


def _scale(shape: Sequence[int]) -> float:
    """Return the longer side of an image (H, W, …), in units of `SIDE_PX`."""
    return max(shape[:2]) / SIDE_PX


def _maps(
    captured: Capture,
    targets: Tensor,
    segmentations: Sequence[Callable[[Image], Labels]],
    limit: int,
) -> Tensor:
    maps = []
    for n, x in enumerate(at_least_float32(captured.x.cpu())):
        image = _to_image(x)
        of_image = []
        for segment in segmentations:
            labels = segment(image)
            regions = labels == np.arange(labels.max() + 1)[:, None, None]
            falls = _falls(captured, n, regions, limit)  # (regions, C)
            (areas,) = _to_device(falls, regions.sum(axis=(1, 2)))
            per_pixel = targets[:, n] @ (falls / areas[:, None]).T  # (M, regions)
            of_image.append(torch.einsum("mr,rhw->mhw", per_pixel, _shrink(regions).to(falls)))
        maps.append(torch.stack(of_image).mean(dim=0))
    return torch.stack(maps)


def _to_image(x: Tensor) -> Image:
    """Return network input (channels, H, W) as an image, from its lowest value to its highest."""
    values = x.permute(1, 2, 0).double().numpy()
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _shrink(regions: Masks) -> Tensor:
    """Return the share of each region in the cells of a map: (n, H, W) → (n, h, w), on the CPU."""
    pixels = torch.from_numpy(regions)[None].float()
    return F.interpolate(pixels, map_size(regions.shape[1:]), mode="area")[0]


def _falls(captured: Capture, n: int, regions: Masks, limit: int) -> Tensor:
    """Return how far the logits of an image fall without each region: (regions, C).

    Args:
        captured: of the image and others.
        n: which image.
        regions: (regions, H, W).
        limit: the greatest number of regions to measure; the others get 0.
    """
    x, logits = at_least_float32(captured.x[n]), captured.logits[n].detach()
    masks_on_cpu = _widen(regions, round(MARGIN_PX * _scale(x.shape[1:])))
    groups = _disjoint_groups(masks_on_cpu)
    unions = np.stack([masks_on_cpu[groups == group].any(axis=0) for group in np.unique(groups)])
    masks, group_of = _to_device(x, masks_on_cpu, groups)
    fills = impute(x.expand(len(unions), *x.shape), *_to_device(x, unions))
    change = ((fills - x).square().sum(dim=1)[group_of] * masks).sum(dim=(1, 2))
    falls = torch.zeros(len(masks), len(logits)).to(logits)
    for chunk in change.topk(min(limit, len(masks))).indices.split(AT_ONCE):
        images = torch.where(masks[chunk, None], fills[group_of[chunk]], x)
        falls[chunk] = logits - captured.logits_of(images)
    return falls


def _to_device(like: Tensor, *arrays: NDArray[Any]) -> list[Tensor]:
    return [torch.from_numpy(array).to(like.device) for array in arrays]


def _widen(masks: Masks, steps: int) -> Masks:
    """Add the pixels next to the masks (n, H, W), `steps` times."""
    for _ in range(steps):
        padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
        rows, columns = padded[:, 1:-1], padded[:, :, 1:-1]
        masks = masks | rows[..., :-2] | rows[..., 2:] | columns[:, :-2] | columns[:, 2:]
    return masks


def _disjoint_groups(masks: Masks) -> NDArray[np.int64]:
    """Divide regions into few groups in which no two of them touch: (n, H, W) → (n,), from 0.

    What a region is filled in with depends on the pixels around it. So a group is filled in as one
    image, which takes a fraction of the time of one image for each region.
    """
    pixels, wide = (m.reshape(len(m), -1).astype(np.float32) for m in (masks, _widen(masks, 1)))
    groups: list[int] = []
    for row in pixels @ wide.T > 0:
        taken = {group for group, touches in zip(groups, row, strict=False) if touches}
        groups.append(next(group for group in count() if group not in taken))
    return np.array(groups)
