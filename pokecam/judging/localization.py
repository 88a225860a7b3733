"""Do maps point at the object? Measures that compare heatmaps with masks and boxes.

Heatmaps (N, S, S) are float32 in [0, 1], as `pokecam.cam.display.display` gives them; empty maps
are zero everywhere. Objects are given by masks, bool (N, S, S), or by boxes, an array (k, 4) for
each image: xmin, ymin, xmax, ymax in packed pixels, where pixel column i covers [i, i + 1). An
image without an object has the measure NaN, and does not count as a miss.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]
Numbers = NDArray[np.float64]

THRESHOLDS = np.arange(50) / 50  # at 0 all pixels reach the threshold: the box is the whole image
DELTAS = (0.3, 0.5, 0.7)
BINS = 250  # bins of the values of heatmaps, for PxAP

EIGHT_CONNECTED = np.ones((3, 3))  # pixels that meet at a corner are connected
# Every pair of neighbours once: pixels and their right, lower, lower right, lower left neighbours.
NEIGHBOURS = (
    (np.s_[:, :-1], np.s_[:, 1:]),
    (np.s_[:-1], np.s_[1:]),
    (np.s_[:-1, :-1], np.s_[1:, 1:]),
    (np.s_[:-1, 1:], np.s_[1:, :-1]),
)


def masks_of_boxes(boxes: Sequence[Numbers], size_px: int) -> Bools:
    """Fill boxes: a pixel is inside if its centre, (i + 1/2, j + 1/2), is inside one of them.

    Args:
        boxes: N arrays (k, 4), k ≥ 0. The lower edges belong to a box, the upper edges do not.
        size_px: side S of the masks.

    Returns:
        (N, S, S) bool.
    """
    centres = np.arange(size_px) + 0.5
    masks = np.zeros((len(boxes), size_px, size_px), dtype=bool)
    for mask, boxes_of_image in zip(masks, boxes, strict=True):
        xmin, ymin, xmax, ymax = boxes_of_image.T[..., None]  # (k, 1) each
        columns = (xmin <= centres) & (centres < xmax)  # (k, S)
        rows = (ymin <= centres) & (centres < ymax)
        mask[:] = rows.T @ columns  # bool: whether any box has both row and column
    return masks


def boxes_of_masks(masks: Bools) -> list[Numbers]:
    """Return the tight box of each mask.

    Args:
        masks: (N, S, S) bool.

    Returns:
        N arrays (1, 4); (0, 4) for an empty mask.
    """
    return [_corners(ndimage.find_objects(mask.astype(int))) for mask in masks]


def pointing_game(heatmaps: Floats, masks: Bools) -> Numbers:
    """Find the heatmaps whose highest pixel is on the object.

    This is the pointing game of Zhang et al. 2016 (arXiv 1608.00507), without the tolerance of 15
    pixels that they allow. Of equal pixels the first in row order counts. A constant map misses.

    Args:
        heatmaps: (N, S, S).
        masks: (N, S, S) bool.

    Returns:
        (N,): 1 for a hit, 0 for a miss, NaN for an empty mask.

    Raises:
        ValueError: the shapes differ, or the masks are not bool.
    """
    _check_shapes(heatmaps, masks)
    hits = np.full(len(heatmaps), np.nan)
    for i in np.flatnonzero(masks.any(axis=(1, 2))):
        is_constant = heatmaps[i].max() == heatmaps[i].min()
        hits[i] = not is_constant and masks[i].flat[heatmaps[i].argmax()]
    return hits


def energy_inside(heatmaps: Floats, masks: Bools) -> Numbers:
    """Compute the share of each heatmap that lies on the object: Σ inside / Σ all.

    This is the energy-based pointing game of Wang et al. 2020 (Score-CAM, arXiv 1910.01279), §4.3.

    Args:
        heatmaps: (N, S, S).
        masks: (N, S, S) bool.

    Returns:
        (N,) in [0, 1]; NaN for an empty map and for an empty mask.

    Raises:
        ValueError: the shapes differ, or the masks are not bool.
    """
    _check_shapes(heatmaps, masks)
    sums_inside = heatmaps.sum(axis=(1, 2), dtype=float, where=masks)
    sums = heatmaps.sum(axis=(1, 2), dtype=float)
    is_defined = (sums > 0) & masks.any(axis=(1, 2))
    return np.divide(sums_inside, sums, out=np.full(len(heatmaps), np.nan), where=is_defined)


def box(heatmap: Floats, threshold: float) -> Numbers | None:
    """Return the box of one heatmap.

    It is the tight box around the largest 8-connected component of the pixels ≥ threshold ×
    maximum. Of components of the same size it is the first in row order. Zhou et al. 2015
    (arXiv 1512.04150) take the threshold 0.20 for CAM, and Selvaraju et al. 2016
    (arXiv 1610.02391) take 0.15 for Grad-CAM.

    Args:
        heatmap: (S, S).
        threshold: a fraction of the maximum, in [0, 1].

    Returns:
        (4,) xmin, ymin, xmax, ymax; None for an empty map.
    """
    highest = heatmap.max()
    if highest == 0:
        return None
    reaches = heatmap >= _in_precision_of(heatmap, threshold) * highest
    labels, _ = ndimage.label(reaches, EIGHT_CONNECTED)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0  # the pixels below the threshold
    return _corners([ndimage.find_objects(labels)[sizes.argmax() - 1]])[0]


def iou(a: Numbers, b: Numbers) -> Numbers:
    """Compute the intersection over union of each box of a with each box of b.

    Boxes are half-open, so that their area is (xmax − xmin) · (ymax − ymin).

    Args:
        a: (n, 4).
        b: (m, 4).

    Returns:
        (n, m) in [0, 1]; 0 for two boxes without area.
    """
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    intersection = np.maximum(high - low, 0).prod(axis=-1)
    union = _areas(a)[:, None] + _areas(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def best_ious(
    heatmaps: Floats, boxes: Sequence[Numbers], thresholds: ArrayLike = THRESHOLDS
) -> Numbers:
    """Find the best IoU, at each threshold, of any box of the heatmap with any true box.

    Boxes are drawn around all 8-connected components of the pixels ≥ threshold, as for MaxBoxAccV2
    in Choe et al. 2020 (arXiv 2001.07437). Their code differs from the paper: it takes the pixels
    > threshold of maps rounded to 256 values, and also draws boxes around holes.

    Args:
        heatmaps: (N, S, S). The maximum of a map that is not empty is 1.
        boxes: the true boxes, N arrays (k, 4), k ≥ 0.
        thresholds: (T,), ascending.

    Returns:
        (N, T): 0 for an empty map and where no pixel reaches the threshold, NaN for an image
        without boxes.

    Raises:
        ValueError: the numbers of heatmaps and images differ, thresholds do not ascend, or
            heatmaps are not in [0, 1].
    """
    _check_range(heatmaps)
    if len(heatmaps) != len(boxes):
        raise ValueError(
            f"got {len(heatmaps)} heatmaps, but the boxes of {len(boxes)} images; give both for "
            "the same images"
        )
    thresholds = _in_precision_of(heatmaps, thresholds)
    if np.any(thresholds[1:] < thresholds[:-1]):
        raise ValueError(f"thresholds must ascend, but are {thresholds.tolist()}; sort them")
    best = np.zeros((len(heatmaps), len(thresholds)))
    for ious, heatmap, true_boxes in zip(best, heatmaps, boxes, strict=True):
        if len(true_boxes) == 0:
            ious[:] = np.nan
        elif heatmap.any():
            drawn_boxes, threshold_indices = _component_boxes(heatmap, thresholds)
            np.maximum.at(ious, threshold_indices, iou(drawn_boxes, true_boxes).max(axis=1))
    return best


def box_hits(ious: Numbers, deltas: Sequence[float] = DELTAS) -> Numbers:
    """Find the thresholds at which an image has a correct box, with IoU ≥ δ.

    Args:
        ious: (N, T), as `best_ious` gives them.
        deltas: D values of δ.

    Returns:
        (N, D, T): 1 for a correct box, else 0; NaN for an image with NaN.
    """
    hits = (ious[:, None] >= np.asarray(deltas)[:, None]).astype(float)
    hits[np.isnan(ious).any(axis=1)] = np.nan
    return hits


def max_box_acc_v2(accuracies: Numbers) -> Numbers:
    """Compute MaxBoxAccV2 of Choe et al. 2020 (arXiv 2001.07437).

    It is the mean over δ of the maximum over thresholds of the share of images with IoU ≥ δ. The
    threshold is chosen on the same images that are scored.

    Args:
        accuracies: (…, D, T), the mean of `box_hits` over images.

    Returns:
        (…) in [0, 1].
    """
    return accuracies.max(axis=-1).mean(axis=-1)


def value_counts(heatmaps: Floats, masks: Bools, bins: int = BINS) -> Numbers:
    """Count the pixels of every value, for `pixel_average_precision`.

    Args:
        heatmaps: (N, S, S).
        masks: (N, S, S) bool.
        bins: the number of bins of [0, 1); the value 1 has another bin to itself.

    Returns:
        (N, 2, bins + 1): the number of pixels of the object, and that of all pixels, with a value
        in [l / bins, (l + 1) / bins), l = 0 … bins; NaN for an empty mask.

    Raises:
        ValueError: the shapes differ, the masks are not bool, or heatmaps are not in [0, 1].
    """
    _check_shapes(heatmaps, masks)
    _check_range(heatmaps)
    edges = _in_precision_of(heatmaps, np.arange(bins + 1) / bins)
    counts = np.full((len(heatmaps), 2, bins + 1), np.nan)
    for i in np.flatnonzero(masks.any(axis=(1, 2))):
        pixel_bins = np.searchsorted(edges, heatmaps[i], side="right") - 1  # (S, S)
        counts[i, 0] = np.bincount(pixel_bins[masks[i]], minlength=bins + 1)
        counts[i, 1] = np.bincount(pixel_bins.ravel(), minlength=bins + 1)
    return counts


def pixel_average_precision(counts: Numbers) -> Numbers:
    """Compute PxAP of Choe et al. 2020 (arXiv 2001.07437).

    It says how well the value of a pixel tells whether the pixel belongs to the object, over the
    pixels of all images together,

        PxAP = Σ_l precision(τ_l) · (recall(τ_l) − recall(τ_{l−1}))

    for the pixels ≥ τ_l, over falling thresholds τ_l = l / bins, l = bins … 0. All pixels of one
    bin [τ_l, τ_{l+1}) are tied, and count at the precision of the whole bin. The value 1 has a bin
    to itself. All pixels of an empty map come at τ = 0.

    Args:
        counts: (…, 2, bins + 1), the mean or sum over images of `value_counts`.

    Returns:
        (…) in [0, 1].
    """
    falling = counts[..., ::-1]
    of_object = falling[..., 0, :]
    true_positives, positives = np.moveaxis(falling.cumsum(axis=-1), -2, 0)
    precision = np.divide(
        true_positives, positives, out=np.zeros_like(positives), where=positives > 0
    )
    return (precision * of_object).sum(axis=-1) / of_object.sum(axis=-1)


def _in_precision_of(heatmaps: Floats, thresholds: ArrayLike) -> Floats:
    """Round thresholds to the precision of the heatmaps, so that a pixel of 0.7 reaches 0.7."""
    return np.asarray(thresholds, dtype=heatmaps.dtype)


def _corners(slices: Sequence[tuple[slice, ...]]) -> Numbers:
    """Return the boxes (n, 4) for slices as `ndimage.find_objects` gives them."""
    edges = [[x.start, y.start, x.stop, y.stop] for y, x in slices]
    return np.array(edges, dtype=float).reshape(-1, 4)


def _areas(boxes: Numbers) -> Numbers:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)


def _component_boxes(heatmap: Floats, thresholds: Floats) -> tuple[Numbers, Ints]:
    """Return the boxes (n, 4) of all components of the pixels ≥ each threshold, and the index (n,)
    of the threshold of each box.

    To label a smooth heatmap at every threshold takes several times as long. Instead the heatmap is
    divided once into hills. On the way up to the summit of a hill, values never fall, so the pixels
    of a hill that reach a threshold are connected. Two hills are connected at all thresholds that
    the pass between them reaches, or that the lowest pass on a path over other hills reaches.
    """
    levels = np.searchsorted(thresholds, heatmap, side="right")  # (S, S), thresholds ≤ the pixel
    hills, n_hills = _hills(heatmap)
    extents, no_extent = _extents(hills, n_hills, levels, len(thresholds))
    parents = list(range(n_hills))  # of each hill: itself, or a hill that it is connected with

    def root(hill: int) -> int:
        while parents[hill] != hill:
            parents[hill] = parents[parents[hill]]
            hill = parents[hill]
        return hill

    for a, b, height in _passes(hills, n_hills, levels):
        a, b = root(a), root(b)
        if a != b:
            parents[b] = a
            below = np.s_[: height + 1]
            np.minimum(extents[:, a, below], extents[:, b, below], out=extents[:, a, below])
            extents[:, b, below] = no_extent

    extents = extents[..., 1:]  # level 0 is below the lowest threshold
    exists = extents[0] < no_extent
    left, top, right, bottom = extents[:, exists]
    boxes = np.stack([left, top, 1 - right, 1 - bottom], axis=1).astype(float)
    return boxes, exists.nonzero()[1]


def _hills(heatmap: Floats) -> tuple[Ints, int]:
    """Return the number (S, S) of the hill that each pixel belongs to, and the number of hills.

    A path leads from every pixel to the highest among its neighbours and itself. Of equal pixels it
    takes the first in row order. So it never returns, and ends at a summit.
    """
    height, width = heatmap.shape
    padded = np.pad(heatmap, 1, constant_values=-1)
    neighbours = np.stack(
        [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    )  # (9, S, S), in row order
    dy, dx = np.divmod(neighbours.argmax(axis=0), 3)
    pixels = np.arange(heatmap.size)
    targets = pixels + ((dy - 1) * width + dx - 1).ravel()
    summits = np.flatnonzero(targets == pixels)
    while not np.array_equal(further := targets[targets], targets):
        targets = further
    numbers = np.zeros(heatmap.size, dtype=np.intp)
    numbers[summits] = np.arange(len(summits))
    return numbers[targets].reshape(heatmap.shape), len(summits)


def _extents(hills: Ints, n_hills: int, levels: Ints, highest: int) -> tuple[Ints, int]:
    """Return the extents of each hill at each level, and the number that stands for no extent.

    Extents are the smallest x, y, −x and −y, (4, n_hills, highest + 1), among the pixels of the
    hill that reach the level.
    """
    no_extent = max(hills.shape)
    extents = np.full((4, n_hills * (highest + 1)), no_extent)
    positions = (hills * (highest + 1) + levels).ravel()
    y, x = np.indices(hills.shape)
    for extent, coordinates in zip(extents, (x, y, -x, -y), strict=True):
        np.minimum.at(extent, positions, coordinates.ravel())
    # A pixel that reaches a level reaches all levels below it.
    falling = extents.reshape(4, n_hills, -1)[..., ::-1]
    return np.minimum.accumulate(falling, axis=-1)[..., ::-1], no_extent


def _passes(hills: Ints, n_hills: int, levels: Ints) -> list[list[int]]:
    """Return, for all pairs of hills that touch, both hills and the level of the highest pass
    between them; the highest pass comes first.

    A pass is as high as the lower of two neighbouring pixels, one on each hill.
    """
    crossings = []
    for first, second in NEIGHBOURS:
        differs = hills[first] != hills[second]
        a, b = hills[first][differs], hills[second][differs]
        heights = np.minimum(levels[first], levels[second])[differs]
        crossings.append([np.minimum(a, b), np.maximum(a, b), heights])
    passes = np.concatenate(crossings, axis=1)  # (3, crossings)
    passes = passes[:, np.argsort(-passes[2], kind="stable")]
    _, highest = np.unique(passes[0] * n_hills + passes[1], return_index=True)
    return passes[:, np.sort(highest)].T.tolist()


def _check_shapes(heatmaps: Floats, masks: Bools) -> None:
    if masks.dtype != bool:
        raise ValueError(f"masks must be bool, but are {masks.dtype}; compare part numbers with 0")
    if heatmaps.shape != masks.shape or heatmaps.ndim != 3:
        raise ValueError(
            f"heatmaps and masks must both be (N, S, S), but are {heatmaps.shape} and {masks.shape}"
        )


def _check_range(heatmaps: Floats) -> None:
    if not (heatmaps.min(initial=0) >= 0 and heatmaps.max(initial=1) <= 1):
        raise ValueError(
            f"heatmaps must be in [0, 1], but span {heatmaps.min()} to {heatmaps.max()}; "
            "turn raw maps into heatmaps with `display`"
        )
