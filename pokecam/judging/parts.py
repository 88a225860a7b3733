"""Which parts of a drawn creature decide, and do the maps know it?

A drawing can be drawn again without one of its parts, everything else unchanged. How far the
class's logit falls then is what the part is worth to the network, found without any map; what it is
worth in a map is the map's mass on it. "Single deletion" of Hesse et al. 2023 (FunnyBirds, arXiv
2308.06248), §4.2.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from pokecam.data.drawn import nuisances, render, scene, species
from pokecam.data.packed.letterbox import fit, letterbox
from pokecam.data.packing.decode import decode
from pokecam.judging.case import Case
from pokecam.networks.classifier import predict

MARGIN_PX = 2  # parts' masks are dilated by a square of 5 × 5: their outline belongs to them
LEAST_AREA_PX = 16  # a part of which less is to be seen is not asked for
LEAST_PARTS = 3  # fewer cannot be ranked
DIFFERENCE_PX = 128  # side at which the drawings of two species are compared

Floats = NDArray[np.floating]


class Redrawing:
    """Draws the pictures of a drawn source again, as `download` and `select` made them.

    settings_file: what `source: drawn` stands for. size_px: side S of the packed pictures.
    """

    def __init__(self, settings_file: Path, size_px: int) -> None:
        self.settings = nuisances.read_settings(settings_file)
        self.catalogue = species.catalogue(settings_file.parent / self.settings.catalogue)
        self.size_px = size_px

    def parts(self, label: str) -> list[str]:
        """The parts of a species; part i has number i + 1 in masks."""
        return [part.name for part in self.catalogue[label].parts]

    def pictures(self, label: str, seed: int, left_out: Sequence[frozenset[str]]) -> np.ndarray:
        """The picture of a species with this seed, once without each of n sets of parts: uint8
        (n, S, S, 3)."""
        one = scene.sample(self.catalogue[label], seed, self.settings)

        def without(some: frozenset[str]) -> np.ndarray:
            jpeg = render.finish(render.picture(one, self.settings.picture_px, some), one)
            decoded, width, height = decode(jpeg, self.size_px)
            return letterbox(decoded, fit(width, height, self.size_px))[1]

        return np.stack([without(some) for some in left_out])

    def differences(self, label: str, other: str, seed: int) -> dict[str, float]:
        """How far each part of a species differs from the same part of another: in this very
        scene, but at rest and with no other part in it, the mean over pixels of the change of
        colour, 0 to 255, if the other's part took its place, or nothing did where the other has
        none.

        At rest, for chance moves and tints parts one after another, and the two species need not
        have as many.
        """
        at_rest = self.settings.model_copy(update={"swing": 0.0, "growth": 0.0, "part_colour": 0.0})
        ours, theirs = (
            scene.sample(self.catalogue[name], seed, at_rest) for name in (label, other)
        )

        def alone(one: scene.Scene, name: str) -> np.ndarray:
            others = frozenset(part.name for part in one.parts) - {name}
            return render.picture(one, DIFFERENCE_PX, others).astype(int)

        return {
            name: float(abs(alone(ours, name) - alone(theirs, name)).mean())
            for name in self.parts(label)
        }


def visible(mask: np.ndarray, names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Part → where it is, dilated, bool (S, S), for the parts that can be seen.

    mask: uint8 (S, S), 0 or a part's number. names: of parts 1, 2, ….
    """
    grown = np.ones((2 * MARGIN_PX + 1,) * 2, bool)
    seen = {}
    for number, name in enumerate(names, 1):
        here = mask == number
        if here.sum() >= LEAST_AREA_PX:
            seen[name] = ndimage.binary_dilation(here, grown)
    return seen


def masses(shown: Floats, regions: Mapping[str, NDArray[np.bool_]]) -> Floats:
    """Each map's mass on each region: (M, S, S) → (M, len(regions))."""
    return np.stack(
        [shown.sum(axis=(1, 2), dtype=float, where=region) for region in regions.values()], axis=1
    )


def rank_correlation(drops: Floats, masses: Floats) -> float:
    """Spearman's ρ between what parts are worth to the network and in a map, (n_parts,) each; NaN
    for fewer than `LEAST_PARTS` parts, or where all are worth the same."""
    if len(drops) < LEAST_PARTS or np.ptp(drops) == 0 or np.ptp(masses) == 0:
        return float("nan")
    return float(stats.spearmanr(drops, masses).statistic)


def ask(
    case: Case, redrawing: Redrawing, i: int, shown: Floats
) -> tuple[NDArray[np.float64], list[dict]]:
    """For picture i, each map's rank correlation (M,) with what the parts are worth to the network,
    and a row for every part: file, label, part, area_px, drop, each method's mass.

    shown: (M, S, S), the displayed maps.
    """
    label, seed, regions = _seen(case, redrawing, i)
    if not regions:
        return np.full(len(shown), np.nan), []
    left_out = [frozenset[str](), *(frozenset({name}) for name in regions)]
    pictures = redrawing.pictures(label, seed, left_out)
    logits = predict(case.network, pictures, np.arange(len(pictures))).double().numpy()
    of_class = logits[:, case.predicted[i]]
    drops = of_class[0] - of_class[1:]
    mass = masses(shown, regions)  # (M, parts)
    mask, names = case.packed.masks[case.rows[i]], redrawing.parts(label)  # type: ignore[index]
    rows = [
        {
            "file": case.files[i],
            "label": label,
            "part": name,
            "area_px": int((mask == names.index(name) + 1).sum()),
            "drop": drop,
            **dict(zip(case.methods, of_part, strict=True)),
        }
        for name, drop, of_part in zip(regions, drops.tolist(), mass.T.tolist(), strict=True)
    ]
    return np.array([rank_correlation(drops, one) for one in mass]), rows


def on_differing(
    case: Case, redrawing: Redrawing, i: int, other: str, shown: Floats
) -> NDArray[np.float64]:
    """For picture i, each map's rank correlation (M,) with how far the drawings of its species and
    of another differ; both for each pixel of a part, or all would agree that large parts are large.
    shown: (M, S, S)."""
    label, seed, regions = _seen(case, redrawing, i)
    if not regions:
        return np.full(len(shown), np.nan)
    differ = redrawing.differences(label, other, seed)
    areas = np.array([region.sum() for region in regions.values()])
    expected = np.array([differ[name] for name in regions]) / areas
    return np.array([rank_correlation(expected, one / areas) for one in masses(shown, regions)])


def _seen(
    case: Case, redrawing: Redrawing, i: int
) -> tuple[str, int, dict[str, NDArray[np.bool_]]]:
    """Of picture i its species, its seed, and where the parts are that can be seen."""
    assert case.packed.masks is not None
    label, seed = case.labels[i], int(case.seeds[case.files[i]])
    return label, seed, visible(case.packed.masks[case.rows[i]], redrawing.parts(label))
