"""How good could a map be in the measures of parts?

    dvc exp run -S judge_images=120
    python benchmarks/parts.py

Takes the importances that the judge stage measured, and scores a map that has the importance of
each part on its visible pixels, evenly: as it is, and blurred as coarse maps are. The decisive part
is also scored over the dilated regions of FunnyBirds. Prints means over images.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from support import PROJECT
from support.parts import measured_images

from pokecam.data.packed import images
from pokecam.judging.parts import (
    areas,
    dilated,
    has_decisive_part,
    masses,
    partial_rank_correlation,
)

BLUR_PX = (0, 4, 8, 16)  # standard deviations

Floats = NDArray[np.float64]


def main() -> None:
    """Print a row for each blur."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    packed = images.load_packed(PROJECT / "data/images")
    scores: dict[int, list[tuple[float, float, float]]] = {sigma: [] for sigma in BLUR_PX}
    for image in measured_images(packed):
        for sigma in BLUR_PX:
            scores[sigma].append(_score(image.importances, image.regions, sigma))
    print(f"{len(scores[0])} images: blur, important parts, decisive part, over dilated regions")
    for sigma, of_images in scores.items():
        means = np.nanmean(np.array(of_images), axis=0)
        print(f"{sigma} px: " + ", ".join(f"{mean:.2f}" for mean in means))


def _score(
    importances: Floats, regions: dict[str, NDArray[np.bool_]], sigma: float
) -> tuple[float, float, float]:
    region_areas = areas(regions)
    heatmap = np.zeros(next(iter(regions.values())).shape)
    for importance, area, region in zip(importances, region_areas, regions.values(), strict=True):
        heatmap[region] = max(importance, 0) / area  # heatmaps have no negative values
    heatmap = ndimage.gaussian_filter(heatmap, sigma)
    mass, dilated_mass = (masses(heatmap[None], r)[0] for r in (regions, dilated(regions)))
    return (
        partial_rank_correlation(importances, mass, region_areas),
        has_decisive_part(importances, mass),
        has_decisive_part(importances, dilated_mass),
    )


if __name__ == "__main__":
    main()
