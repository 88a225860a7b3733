"""Which parts of a drawn creature are important to the network, and do the maps show it?

A drawing can be rendered again without one of its parts, everything else unchanged. The importance
of the part is how far the logit of the class falls then; no map is needed to find it. In a map the
part has a mass, the sum of the map over it. This is "single deletion" of Hesse et al. 2023
(FunnyBirds, arXiv 2308.06248), §4.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from pokecam.judging.case import Case
from pokecam.judging.redrawing import Redrawing
from pokecam.networks.classifier import predict

MARGIN_PX = 2  # masks of parts are dilated by a square of 5 × 5: the outline belongs to the part
SMALLEST_AREA_PX = 16  # parts of which less is visible are not measured
FEWEST_PARTS = 3  # fewer cannot be ranked

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class DrawnImage:
    """One drawn test image.

    Attributes:
        label: its species.
        seed: of its scene.
        regions: part → where it is, dilated, bool (S, S), for each visible part.
        areas_px: part → its number of pixels, not dilated.
    """

    label: str
    seed: int
    regions: dict[str, NDArray[np.bool_]]
    areas_px: dict[str, int]


def visible(mask: np.ndarray, names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Return the regions of the parts that can be seen.

    Args:
        mask: uint8 (S, S), 0 or the number of a part.
        names: the parts 1, 2, ….

    Returns:
        Part → its region, dilated by `MARGIN_PX`, bool (S, S).
    """
    dilation = np.ones((2 * MARGIN_PX + 1,) * 2, bool)
    regions = {}
    for number, name in enumerate(names, 1):
        region = mask == number
        if region.sum() >= SMALLEST_AREA_PX:
            regions[name] = ndimage.binary_dilation(region, dilation)
    return regions


def masses(heatmaps: Floats, regions: Mapping[str, NDArray[np.bool_]]) -> Floats:
    """Return the sum of each heatmap over each region: (M, S, S) → (M, len(regions))."""
    return np.stack(
        [heatmaps.sum(axis=(1, 2), dtype=float, where=region) for region in regions.values()],
        axis=1,
    )


def rank_correlation(importances: Floats, masses: Floats) -> float:
    """Return Spearman's ρ between the importances of parts and their masses, (n_parts,) each.

    It is NaN for fewer than `FEWEST_PARTS` parts, or where all have the same value.
    """
    if len(importances) < FEWEST_PARTS or np.ptp(importances) == 0 or np.ptp(masses) == 0:
        return float("nan")
    return float(stats.spearmanr(importances, masses).statistic)


def part_ranks(
    case: Case, redrawing: Redrawing, index: int, heatmaps: Floats
) -> tuple[NDArray[np.float64], list[dict]]:
    """Compare the masses of parts in maps with their importance to the network.

    Args:
        case: M methods.
        redrawing: of the source.
        index: the image of the case.
        heatmaps: (M, S, S).

    Returns:
        The rank correlation of each method, (M,), and a row for every part: file, label, part,
        area_px, drop (the importance, in logits), and the mass in the map of each method.
    """
    image = _drawn_image(case, redrawing, index)
    if not image.regions:
        return np.full(len(heatmaps), np.nan), []
    omitted_parts = [frozenset[str](), *(frozenset({name}) for name in image.regions)]
    pixels = redrawing.images(image.label, image.seed, omitted_parts)
    logits = predict(case.network, pixels, np.arange(len(pixels))).double().numpy()
    class_logits = logits[:, case.predicted[index]]
    drops = class_logits[0] - class_logits[1:]
    part_masses = masses(heatmaps, image.regions)  # (M, parts)
    rows = [
        {
            "file": case.files[index],
            "label": image.label,
            "part": name,
            "area_px": image.areas_px[name],
            "drop": drop,
            **dict(zip(case.methods, method_masses, strict=True)),
        }
        for name, drop, method_masses in zip(
            image.regions, drops.tolist(), part_masses.T.tolist(), strict=True
        )
    ]
    return np.array([rank_correlation(drops, row) for row in part_masses]), rows


def difference_ranks(
    case: Case, redrawing: Redrawing, index: int, other: str, heatmaps: Floats
) -> NDArray[np.float64]:
    """Compare the masses of parts in maps with how far two species differ there.

    Both are taken for each pixel of a part; otherwise all maps would agree that large parts have
    much of everything.

    Args:
        case: M methods.
        redrawing: of the source.
        index: the image of the case.
        other: the species that its own is compared with.
        heatmaps: (M, S, S).

    Returns:
        The rank correlation of each method, (M,).
    """
    image = _drawn_image(case, redrawing, index)
    if not image.regions:
        return np.full(len(heatmaps), np.nan)
    differences = redrawing.differences(image.label, other, image.seed)
    areas = np.array([region.sum() for region in image.regions.values()])
    expected = np.array([differences[name] for name in image.regions]) / areas
    return np.array(
        [rank_correlation(expected, row / areas) for row in masses(heatmaps, image.regions)]
    )


def _drawn_image(case: Case, redrawing: Redrawing, index: int) -> DrawnImage:
    assert case.packed.masks is not None
    label, mask = case.labels[index], case.packed.masks[case.rows[index]]
    names = redrawing.parts(label)
    return DrawnImage(
        label,
        int(case.scene_seeds[case.files[index]]),
        visible(mask, names),
        {name: int((mask == number).sum()) for number, name in enumerate(names, 1)},
    )
