"""Do maps point at the object? Measures of maps against masks and boxes.

Maps are as `pokecam.cam.display.display` gives them: float32 (N, S, S) in [0, 1], all zero where a
map says nothing. An object is a mask, bool (N, S, S), or boxes: per image an array (k, 4) of
xmin, ymin, xmax, ymax in packed pixels, where pixel column i covers [i, i + 1). An image without
an object is no miss: its measure is NaN, to be left out and counted.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]
Numbers = NDArray[np.float64]

THRESHOLDS = np.arange(50) / 50  # at 0 every pixel is taken: the box is the whole image
DELTAS = (0.3, 0.5, 0.7)
BINS = 250  # of the values of maps, for PxAP

EIGHT = np.ones((3, 3))  # pixels that meet at a corner are connected
# Every pair of neighbours once: pixels and their right, lower, lower right, lower left neighbours.
NEIGHBOURS = (
    (np.s_[:, :-1], np.s_[:, 1:]),
    (np.s_[:-1], np.s_[1:]),
    (np.s_[:-1, :-1], np.s_[1:, 1:]),
    (np.s_[:-1, 1:], np.s_[1:, :-1]),
)


def masks_of_boxes(boxes: Sequence[Numbers], size_px: int) -> Bools:
    """Fill boxes: a pixel is inside if its centre, (i + 1/2, j + 1/2), is inside one of them.

    boxes: N arrays (k, 4), k ≥ 0. The lower edges belong to a box, the upper ones do not.
    Returns bool (N, size_px, size_px).
    """
    centre = np.arange(size_px) + 0.5
    masks = np.zeros((len(boxes), size_px, size_px), dtype=bool)
    for mask, some in zip(masks, boxes, strict=True):
        xmin, ymin, xmax, ymax = some.T[..., None]  # (k, 1) each
        columns = (xmin <= centre) & (centre < xmax)  # (k, S)
        rows = (ymin <= centre) & (centre < ymax)
        mask[:] = rows.T @ columns  # of bool: whether any box has both
    return masks


def boxes_of_masks(masks: Bools) -> list[Numbers]:
    """Give the tight box of each mask.

    masks: bool (N, S, S). Returns N arrays (1, 4); (0, 4) for an empty mask.
    """
    return [_around(ndimage.find_objects(mask.astype(int))) for mask in masks]


def pointing_game(shown: Floats, masks: Bools, tolerance_px: float = 0.0) -> Numbers:
    """Tell whether the highest pixel of each map hits the object.

    Of equals the first in row order counts. It hits if its distance to the nearest pixel of the
    object, between centres, is at most tolerance_px; Zhang et al. 2016 (arXiv 1608.00507) allow
    15. A constant map points nowhere and misses.

    shown: float32 (N, S, S). masks: bool (N, S, S).
    Returns (N,): 1 for a hit, 0 for a miss, NaN for an empty mask.
    Raises ValueError if the arguments do not fit one another.
    """
    _check(shown, masks)
    hits = np.full(len(shown), np.nan)
    for i in np.flatnonzero(masks.any(axis=(1, 2))):
        y, x = np.unravel_index(shown[i].argmax(), shown[i].shape)
        rows, columns = np.nonzero(masks[i])
        distance_px = np.sqrt(np.min((rows - y) ** 2 + (columns - x) ** 2))
        hits[i] = shown[i].max() > shown[i].min() and distance_px <= tolerance_px
    return hits


def energy_inside(shown: Floats, masks: Bools) -> Numbers:
    """Give the share of each map that lies on the object: Σ inside / Σ all.

    The energy-based pointing game of Wang et al. 2020 (Score-CAM, arXiv 1910.01279), §4.3.

    shown: float32 (N, S, S). masks: bool (N, S, S).
    Returns (N,) in [0, 1], NaN for a map of zeros and for an empty mask.
    Raises ValueError if the arguments do not fit one another.
    """
    _check(shown, masks)
    inside = shown.sum(axis=(1, 2), dtype=float, where=masks)
    total = shown.sum(axis=(1, 2), dtype=float)
    defined = (total > 0) & masks.any(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(shown), np.nan), where=defined)


def box(shown_one: Floats, threshold: float) -> Numbers | None:
    """Draw the box of one map: the tight one around the largest 8-connected component of the
    pixels ≥ threshold × maximum; of components with as many pixels, the first in row order.

    Zhou et al. 2015 (arXiv 1512.04150) take 0.20 for CAM, Selvaraju et al. 2016 (arXiv 1610.02391)
    0.15 for Grad-CAM.

    shown_one: float32 (S, S). threshold: a fraction of the maximum, in [0, 1].
    Returns (4,) xmin, ymin, xmax, ymax; None for a map of zeros.
    """
    highest = shown_one.max()
    if highest == 0:
        return None
    labels, _ = ndimage.label(shown_one >= _as_of(shown_one, threshold) * highest, EIGHT)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0  # what is below the threshold
    return _around([ndimage.find_objects(labels)[sizes.argmax() - 1]])[0]


def iou(a: Numbers, b: Numbers) -> Numbers:
    """Give the intersection over union of each box of a with each of b.

    Edges are half-open, so a box's area is (xmax − xmin)·(ymax − ymin).

    a: (n, 4). b: (m, 4). Returns (n, m) in [0, 1]; 0 for two boxes without area.
    """
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    union = _areas(a)[:, None] + _areas(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def best_ious(
    shown: Floats, boxes: Sequence[Numbers], thresholds: ArrayLike = THRESHOLDS
) -> Numbers:
    """Give the best IoU of any box drawn at each threshold with any true box of the image.

    Boxes are drawn around all 8-connected components of the pixels ≥ threshold, as for
    MaxBoxAccV2 in Choe et al. 2020 (arXiv 2001.07437). Their code differs from the paper: it
    takes > on maps rounded to 256 values, and draws boxes around holes, too.

    shown: float32 (N, S, S); the maximum of a map that says something is 1.
    boxes: N arrays (k, 4), k ≥ 0. thresholds: (T,), ascending.
    Returns (N, T): 0 for a map of zeros and where no pixel reaches the threshold, NaN for an
    image without boxes.
    Raises ValueError if the arguments do not fit one another, thresholds do not ascend or maps
    are not in [0, 1].
    """
    _check_range(shown)
    if len(shown) != len(boxes):
        raise ValueError(f"{len(shown)} maps came with the boxes of {len(boxes)} images")
    thresholds = _as_of(shown, thresholds)
    if np.any(thresholds[1:] < thresholds[:-1]):
        raise ValueError(f"thresholds must ascend, {thresholds.tolist()} came")
    best = np.zeros((len(shown), len(thresholds)))
    for row, one, true in zip(best, shown, boxes, strict=True):
        if len(true) == 0:
            row[:] = np.nan
        elif one.any():
            drawn, index = _components(one, thresholds)
            np.maximum.at(row, index, iou(drawn, true).max(axis=1))
    return best


def box_hits(ious: Numbers, deltas: Sequence[float] = DELTAS) -> Numbers:
    """Tell of each image at which thresholds a box is right: 1 where IoU ≥ δ, else 0.

    ious: (N, T), as of `best_ious`. Returns (N, len(deltas), T); NaN for an image with NaN.
    """
    hits = (ious[:, None] >= np.asarray(deltas)[:, None]).astype(float)
    hits[np.isnan(ious).any(axis=1)] = np.nan
    return hits


def max_box_acc_v2(accuracies: Numbers) -> Numbers:
    """MaxBoxAccV2 of Choe et al. 2020 (arXiv 2001.07437): mean over δ of max over thresholds of
    the share of images with IoU ≥ δ. The threshold is chosen on the images that are scored.

    accuracies: (…, D, T), the mean of `box_hits` over images. Returns (…) in [0, 1].
    """
    return accuracies.max(axis=-1).mean(axis=-1)


def value_counts(shown: Floats, masks: Bools, bins: int = BINS) -> Numbers:
    """Count the pixels of every value, for `pixel_average_precision`.

    shown: float32 (N, S, S). masks: bool (N, S, S).
    Returns (N, 2, bins + 1): pixels of the object, and all pixels, whose value is in
    [l / bins, (l + 1) / bins), l = 0 … bins; NaN for an empty mask.
    Raises ValueError if the arguments do not fit one another or maps are not in [0, 1].
    """
    _check(shown, masks)
    _check_range(shown)
    edges = _as_of(shown, np.arange(bins + 1) / bins)
    counts = np.full((len(shown), 2, bins + 1), np.nan)
    for i in np.flatnonzero(masks.any(axis=(1, 2))):
        bin_of = np.searchsorted(edges, shown[i], side="right") - 1  # (S, S)
        counts[i, 0] = np.bincount(bin_of[masks[i]], minlength=bins + 1)
        counts[i, 1] = np.bincount(bin_of.ravel(), minlength=bins + 1)
    return counts


def pixel_average_precision(counts: Numbers) -> Numbers:
    """PxAP of Choe et al. 2020 (arXiv 2001.07437): how well the value of a pixel tells whether it
    belongs to the object, over the pixels of all images together.

    Σ_l precision(τ_l) · (recall(τ_l) − recall(τ_{l−1})) over falling thresholds τ_l = l / bins,
    l = bins … 0, of the pixels ≥ τ_l. Values in one bin [τ_l, τ_{l+1}) are tied: found together,
    all at the precision reached with the last of them; a value of 1 has a bin to itself. A map
    that says nothing finds all its pixels at τ = 0.

    counts: (…, 2, bins + 1), of the object and of all, the mean or sum over images of
    `value_counts`. Returns (…) in [0, 1].
    """
    falling = counts[..., ::-1]
    of_object = falling[..., 0, :]
    reached, taken = np.moveaxis(falling.cumsum(axis=-1), -2, 0)
    precision = np.divide(reached, taken, out=np.zeros_like(taken), where=taken > 0)
    return (precision * of_object).sum(axis=-1) / of_object.sum(axis=-1)


def _as_of(shown: Floats, thresholds: ArrayLike) -> Floats:
    """Thresholds in the precision of the maps, so that a pixel of 0.7 reaches 0.7."""
    return np.asarray(thresholds, dtype=shown.dtype)


def _around(slices: Sequence[tuple[slice, ...]]) -> Numbers:
    """The boxes (n, 4) of what `ndimage.find_objects` found."""
    edges = [[x.start, y.start, x.stop, y.stop] for y, x in slices]
    return np.array(edges, dtype=float).reshape(-1, 4)


def _areas(boxes: Numbers) -> Numbers:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)


def _components(one: Floats, thresholds: Floats) -> tuple[Numbers, Ints]:
    """The boxes (n, 4) of all components of the pixels ≥ each threshold, and the index (n,) of
    each one's threshold.

    Labelling a smooth map at every threshold takes several times as long. Instead it is cut into
    hills, once. On the way up to a hill's summit values never fall, so what a threshold leaves of
    a hill is connected; and two hills are connected at all thresholds that the pass between them
    reaches, or the lowest pass on a way by others.
    """
    level = np.searchsorted(thresholds, one, side="right")  # (S, S), how many a pixel reaches
    hill, n_hills = _hills(one)
    extents, nothing = _extents(hill, n_hills, level, len(thresholds))
    group = list(range(n_hills))  # a hill, or another of those it is connected with

    def leader(of: int) -> int:
        while group[of] != of:
            group[of] = group[group[of]]
            of = group[of]
        return of

    for a, b, height in _passes(hill, n_hills, level):
        a, b = leader(a), leader(b)
        if a != b:
            group[b] = a
            below = np.s_[: height + 1]
            np.minimum(extents[:, a, below], extents[:, b, below], out=extents[:, a, below])
            extents[:, b, below] = nothing

    extents = extents[..., 1:]  # from the lowest threshold on
    there = extents[0] < nothing
    left, top, right, bottom = extents[:, there]
    return np.stack([left, top, 1 - right, 1 - bottom], axis=1).astype(float), there.nonzero()[1]


def _hills(one: Floats) -> tuple[Ints, int]:
    """The number (S, S) of the hill that each pixel belongs to, and how many hills there are.

    From every pixel the way leads to the highest of its neighbours and itself. Of equals it takes
    the first, so that it never turns back, and ends at a summit.
    """
    height, width = one.shape
    padded = np.pad(one, 1, constant_values=-1)
    around = np.stack(
        [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    )  # (9, S, S), in row order
    dy, dx = np.divmod(around.argmax(axis=0), 3)
    here = np.arange(one.size)
    towards = here + ((dy - 1) * width + dx - 1).ravel()
    summits = np.flatnonzero(towards == here)
    while not np.array_equal(further := towards[towards], towards):
        towards = further
    number = np.zeros(one.size, dtype=np.intp)
    number[summits] = np.arange(len(summits))
    return number[towards].reshape(one.shape), len(summits)


def _extents(hill: Ints, n_hills: int, level: Ints, highest: int) -> tuple[Ints, int]:
    """The least x, y, −x and −y, (4, n_hills, highest + 1), among the pixels of each hill that
    reach each level, and the number that stands where there are none."""
    nothing = max(hill.shape)
    extents = np.full((4, n_hills * (highest + 1)), nothing)
    place = (hill * (highest + 1) + level).ravel()
    y, x = np.indices(hill.shape)
    for extent, coordinate in zip(extents, (x, y, -x, -y), strict=True):
        np.minimum.at(extent, place, coordinate.ravel())
    falling = extents.reshape(4, n_hills, -1)[..., ::-1]  # who reaches a level reaches all below
    return np.minimum.accumulate(falling, axis=-1)[..., ::-1], nothing


def _passes(hill: Ints, n_hills: int, level: Ints) -> list[list[int]]:
    """Two hills and the level of the highest pass between them, for all that touch; highest first.

    A pass is as high as the lower of two neighbouring pixels, one on each hill.
    """
    crossings = []
    for here, there in NEIGHBOURS:
        differ = hill[here] != hill[there]
        a, b = hill[here][differ], hill[there][differ]
        lower = np.minimum(level[here], level[there])[differ]
        crossings.append([np.minimum(a, b), np.maximum(a, b), lower])
    both = np.concatenate(crossings, axis=1)  # (3, crossings)
    both = both[:, np.argsort(-both[2], kind="stable")]
    _, highest = np.unique(both[0] * n_hills + both[1], return_index=True)
    return both[:, np.sort(highest)].T.tolist()


def _check(shown: Floats, masks: Bools) -> None:
    if masks.dtype != bool:
        raise ValueError(f"masks must be bool, {masks.dtype} came: compare part numbers with 0")
    if shown.shape != masks.shape or shown.ndim != 3:
        raise ValueError(
            f"maps and masks must both be (N, S, S), {shown.shape} and {masks.shape} came"
        )


def _check_range(shown: Floats) -> None:
    if not (shown.min(initial=0) >= 0 and shown.max(initial=1) <= 1):
        raise ValueError(
            f"maps must be in [0, 1], values from {shown.min()} to {shown.max()} came: "
            "give raw maps to `display` first"
        )
