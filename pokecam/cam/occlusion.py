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
from scipy import ndimage
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

    Args:
        image: (H, W, channels) in [0, 1].

    Returns:
        (H, W), regions numbered from 0.
    """
    scale = _scale(image.shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got image with third dimension")  # it is not a volume
        return felzenszwalb(
            image,
            scale=200 * scale**2,
            sigma=0.8 * scale,
            min_size=max(1, round(150 * scale**2)),
            channel_axis=-1,
        )


def by_distance(image: Image) -> Labels:
    """Divide an image into about 60 compact regions of nearly equal size.

    SLIC, Achanta et al. 2012 (TPAMI), at 224 px smoothed by σ = 1 px: otherwise grain breaks the
    regions up, and SLIC joins the pieces to a single region.

    Args:
        image: (H, W, channels) in [0, 1].

    Returns:
        (H, W), regions numbered from 0.
    """
    if image.shape[2] != 3:  # three channels become L*a*b*, of which L* goes to 100
        image = 100 * image
    return slic(
        image,
        n_segments=60,
        compactness=10,
        sigma=_scale(image.shape),
        start_label=0,
        channel_axis=-1,
    )


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
            falls = _falls(captured, n, labels, limit)  # (regions, C)
            (areas,) = _to_device(falls, np.bincount(labels.ravel()))
            per_pixel = targets[:, n] @ (falls / areas[:, None]).T  # (M, regions)
            of_image.append(torch.einsum("mr,rhw->mhw", per_pixel, _shares(labels).to(falls)))
        maps.append(torch.stack(of_image).mean(dim=0))
    return torch.stack(maps)


def _to_image(x: Tensor) -> Image:
    """Return network input (channels, H, W) as an image, from its lowest value to its highest."""
    values = x.permute(1, 2, 0).double().numpy()
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _masks(labels: Labels, numbers: NDArray[np.integer]) -> Masks:
    """Return which pixels belong to the regions of these numbers: (len(numbers), H, W)."""
    return labels == numbers[:, None, None]


def _shares(labels: Labels) -> Tensor:
    """Return the share of each region in the cells of a map: (regions, h, w), on the CPU."""
    size = map_size(labels.shape)
    return torch.cat(
        [
            F.interpolate(torch.from_numpy(masks)[None].float(), size, mode="area")[0]
            for masks in (_masks(labels, numbers) for numbers in _chunks(labels))
        ]
    )


def _chunks(labels: Labels) -> list[NDArray[np.integer]]:
    """Return the numbers of the regions, in arrays of at most `AT_ONCE`."""
    numbers = np.arange(labels.max() + 1)
    return np.split(numbers, range(AT_ONCE, len(numbers), AT_ONCE))


def _falls(captured: Capture, n: int, labels: Labels, limit: int) -> Tensor:
    """Return how far the logits of an image fall without each region: (regions, C).

    Args:
        captured: of the image and others.
        n: which image.
        labels: (H, W), the regions, numbered from 0.
        limit: the greatest number of regions to measure; the others get 0.
    """
    x, logits = at_least_float32(captured.x[n]), captured.logits[n].detach()
    margin = round(MARGIN_PX * _scale(labels.shape))
    masks_on_cpu = np.concatenate([_widen(_masks(labels, c), margin) for c in _chunks(labels)])
    groups = _groups_apart(labels, 2 * margin + 2)
    unions = np.stack([masks_on_cpu[groups == group].any(axis=0) for group in np.unique(groups)])
    masks, group_of = _to_device(x, masks_on_cpu, groups)
    fills = impute(x.expand(len(unions), *x.shape), *_to_device(x, unions))
    changes = (fills - x).square().sum(dim=1)
    change = torch.cat(
        [
            (changes[of_chunk] * masks_of_chunk).sum(dim=(1, 2))
            for of_chunk, masks_of_chunk in zip(
                group_of.split(AT_ONCE), masks.split(AT_ONCE), strict=True
            )
        ]
    )
    falls = torch.zeros(len(masks), len(logits)).to(logits)
    for chunk in change.topk(min(limit, len(masks))).indices.split(AT_ONCE):
        images = torch.where(masks[chunk, None], fills[group_of[chunk]], x)
        falls[chunk] = logits - captured.logits_of(images)
    return falls


def _to_device(like: Tensor, *arrays: NDArray[Any]) -> list[Tensor]:
    return [torch.from_numpy(array).to(like.device) for array in arrays]


# Slices take a tenth of the time of scipy's dilation.
def _widen(masks: Masks, steps: int) -> Masks:
    """Add the pixels next to the masks (n, H, W), `steps` times."""
    for _ in range(steps):
        padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
        rows, columns = padded[:, 1:-1], padded[:, :, 1:-1]
        masks = masks | rows[..., :-2] | rows[..., 2:] | columns[:, :-2] | columns[:, 2:]
    return masks


def _groups_apart(labels: Labels, distance_px: int) -> NDArray[np.int64]:
    """Divide regions into few groups in which they are far from one another.

    What a region is filled in with depends on the pixels around it. So a group is filled in as one
    image, which takes a fraction of the time of one image for each region.

    Args:
        labels: (H, W), the regions, numbered from 0.
        distance_px: no region of a group has a pixel so near to one of another, in x and in y.

    Returns:
        The group of each region, (regions,), numbered from 0.
    """
    # In cells of that size, regions that are near have the same cell or cells side by side.
    rows, columns = (np.arange(side) // distance_px for side in labels.shape)
    cells = np.zeros((labels.max() + 1, rows[-1] + 1, columns[-1] + 1), np.float32)
    cells[labels, rows[:, None], columns] = 1
    around = ndimage.maximum_filter(cells, (1, 3, 3))
    is_near = cells.reshape(len(cells), -1) @ around.reshape(len(cells), -1).T > 0
    groups: list[int] = []
    for row in is_near:
        near_groups = {group for group, near in zip(groups, row, strict=False) if near}
        groups.append(next(group for group in count() if group not in near_groups))
    return np.array(groups)
