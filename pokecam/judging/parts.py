"""Which parts of a drawn creature are important to the network, and do the maps show it?

A drawing can be rendered again without one of its parts, everything else unchanged. The importance
of the part is how far the logit of the class falls then; no map is needed to find it. In a map the
part has a mass, the sum of the map over it. This is "single deletion" of Hesse et al. 2023
(FunnyBirds, arXiv 2308.06248), §4.2.

A large part has much of any map, and is often important. So a map that knows nothing agrees with
the importances, too. The first measure therefore takes the areas of the parts out, and the others
stand beside what the areas alone reach.

Masses are those over the visible pixels of a part, so that a map with the importance of each part
on its pixels is perfect. FunnyBirds dilates the parts. Then small parts share their pixels with
large ones, and such a map names the decisive part in 80 % of the images (`benchmarks/parts.py`).
`single_deletion` keeps that convention.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from pokecam.judging.case import Case
from pokecam.judging.redrawing import Redrawing
from pokecam.networks.classifier import predict

MARGIN_PX = 2  # dilated regions of parts have as many more pixels on every side, as in FunnyBirds
SMALLEST_AREA_PX = 16  # parts of which less is visible are not measured
FEWEST_PARTS = 3  # fewer cannot be ranked; one more is needed to take the areas out
SMALLEST_REMAINDER = 1e-9  # of the variance of the ranks when the areas are taken out
MEASURES = ("parts", "decisive_part", "single_deletion")
AREAS = "areas"  # the baseline that has the area of each part in place of a mass

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class DrawnImage:
    """One drawn test image.

    Attributes:
        label: its species.
        seed: of its scene.
        regions: part → where it is, bool (S, S), for each visible part.
    """

    label: str
    seed: int
    regions: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class PartScores:
    """How well the masses of the parts of one image agree with their importances.

    Attributes:
        of_maps: measure → (M,).
        of_areas: measure → the same for the areas in place of the masses.
        rows: file, label, part, area_px, drop (the importance, in logits), and the mass in the map
            of each method, for every part.
    """

    of_maps: dict[str, Floats]
    of_areas: dict[str, float]
    rows: list[dict]


def visible(mask: np.ndarray, names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Return the regions of the parts that can be seen.

    Args:
        mask: uint8 (S, S), 0 or the number of a part.
        names: the parts 1, 2, ….

    Returns:
        Part → its region, bool (S, S). No two regions have a pixel in common.
    """
    regions = {name: mask == number for number, name in enumerate(names, 1)}
    return {name: r for name, r in regions.items() if r.sum() >= SMALLEST_AREA_PX}


def dilated(regions: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.bool_]]:
    """Return the regions with `MARGIN_PX` more pixels on every side."""
    square = np.ones((2 * MARGIN_PX + 1,) * 2, bool)
    return {name: ndimage.binary_dilation(region, square) for name, region in regions.items()}


def areas(regions: Mapping[str, NDArray[np.bool_]]) -> Floats:
    """Return the number of pixels of each region."""
    return np.array([region.sum() for region in regions.values()], float)


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


def partial_rank_correlation(importances: Floats, masses: Floats, areas: Floats) -> float:
    """Return the partial rank correlation of importances and masses, given the areas.

    It is Pearson's partial correlation of the ranks: the correlation of what is left of both when
    their linear dependence on the rank of the area is taken out. With the rank correlation ρ of
    importances and masses, and those of each with the areas, ρ₁ and ρ₂, it is
    (ρ − ρ₁ρ₂) / √((1 − ρ₁²) (1 − ρ₂²)).

    Args:
        importances: (n_parts,).
        masses: (n_parts,).
        areas: (n_parts,).

    Returns:
        The correlation; NaN for at most `FEWEST_PARTS` parts, where the importances or the masses
        are all the same, and where one of them ranks the parts as the areas do, or in the opposite
        order.
    """
    correlation = rank_correlation(importances, masses)
    if len(importances) <= FEWEST_PARTS:
        return float("nan")
    if np.isnan(correlation) or np.ptp(areas) == 0:
        return correlation
    of_importances = rank_correlation(importances, areas)
    of_masses = rank_correlation(masses, areas)
    remainder = (1 - of_importances**2) * (1 - of_masses**2)
    if remainder < SMALLEST_REMAINDER:
        return float("nan")
    return float(np.clip((correlation - of_importances * of_masses) / np.sqrt(remainder), -1, 1))


def has_decisive_part(importances: Floats, masses: Floats) -> float:
    """Return 1 if the part with the most mass is the one with the highest importance, else 0.

    An empty map has no such part, and gets 0. It is NaN without a part.

    Args:
        importances: (n_parts,).
        masses: (n_parts,).
    """
    if len(importances) == 0:
        return float("nan")
    is_heaviest = (masses == masses.max()) & (masses > 0)
    return float(is_heaviest.sum() == 1 and is_heaviest[importances.argmax()])


def single_deletion(importances: Floats, masses: Floats) -> float:
    """Return (1 + ρ) / 2 for the rank correlation ρ, as FunnyBirds states it (§4.2).

    FunnyBirds takes the masses over dilated regions, and parts that are there twice, such as eyes,
    as one part. Here they are two.

    Args:
        importances: (n_parts,).
        masses: (n_parts,).
    """
    return (1 + rank_correlation(importances, masses)) / 2


def score_parts(case: Case, redrawing: Redrawing, index: int, heatmaps: Floats) -> PartScores:
    """Compare the masses of parts in maps with their importance to the network.

    Args:
        case: M methods.
        redrawing: of the source.
        index: the image of the case.
        heatmaps: (M, S, S).
    """
    image = _drawn_image(case, redrawing, index)
    if not image.regions:
        no_scores = np.full(len(heatmaps), np.nan)
        return PartScores(dict.fromkeys(MEASURES, no_scores), dict.fromkeys(MEASURES, np.nan), [])
    omitted_parts = [frozenset[str](), *(frozenset({name}) for name in image.regions)]
    pixels = redrawing.images(image.label, image.seed, omitted_parts)
    logits = predict(case.network, pixels, np.arange(len(pixels))).double().numpy()
    class_logits = logits[:, case.predicted[index]]
    drops = class_logits[0] - class_logits[1:]
    of_regions = _Amounts.of(image.regions, heatmaps)
    of_dilated = _Amounts.of(dilated(image.regions), heatmaps)
    rows = [
        {
            "file": case.files[index],
            "label": image.label,
            "part": name,
            "area_px": int(area),
            "drop": drop,
            **dict(zip(case.methods, method_masses, strict=True)),
        }
        for name, area, drop, method_masses in zip(
            image.regions,
            of_regions.areas,
            drops.tolist(),
            of_regions.masses.T.tolist(),
            strict=True,
        )
    ]
    *of_maps, of_areas = [
        {
            "parts": partial_rank_correlation(drops, amounts, of_regions.areas),
            "decisive_part": has_decisive_part(drops, amounts),
            "single_deletion": single_deletion(drops, dilated_amounts),
        }
        for amounts, dilated_amounts in zip(of_regions.all, of_dilated.all, strict=True)
    ]
    by_measure = {name: np.array([scores[name] for scores in of_maps]) for name in MEASURES}
    return PartScores(by_measure, of_areas, rows)


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
    regions = dilated(image.regions)
    areas_px = areas(regions)
    expected = np.array([differences[name] for name in regions]) / areas_px
    return np.array(
        [rank_correlation(expected, row / areas_px) for row in masses(heatmaps, regions)]
    )


@dataclass(frozen=True)
class _Amounts:
    """What regions have: masses of M maps (M, parts), and areas (parts,)."""

    masses: Floats
    areas: Floats

    @classmethod
    def of(cls, regions: Mapping[str, NDArray[np.bool_]], heatmaps: Floats) -> "_Amounts":
        return cls(masses(heatmaps, regions), areas(regions))

    @property
    def all(self) -> list[Floats]:
        """The masses of each map, and the areas last."""
        return [*self.masses, self.areas]


def _drawn_image(case: Case, redrawing: Redrawing, index: int) -> DrawnImage:
    assert case.packed.masks is not None
    label, mask = case.labels[index], case.packed.masks[case.rows[index]]
    seed = int(case.scene_seeds[case.files[index]])
    return DrawnImage(label, seed, visible(mask, redrawing.parts(label)))
