"""How many drawn images per second one core makes, with part masks and without.

    python benchmarks/drawn_speed.py [--images 200] [--rounds 5]

An image counts from its seed to its bytes: scene, pixels, noise, JPEG; with masks also the labels
and their indexed PNG. Every round draws the same images of the whole catalogue in one process.
Shown are the median round, and what the fastest of the rounds for each single image adds up to:
the two differ by what else the machine does.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from pokecam.data.drawn import render, scene, species  # noqa: E402
from pokecam.data.drawn.nuisances import DrawnSettings, read_settings  # noqa: E402
from pokecam.data.sources.drawn import image_seed, mask_png  # noqa: E402

SIZES_PX = (256, 128)


def draw(one: species.Species, seed: int, settings: DrawnSettings, size_px: int) -> None:
    """One image from seed to bytes, without a mask."""
    drawn = scene.sample(one, seed, settings)
    render.finish(render.image(drawn, size_px), drawn)


def draw_with_mask(one: species.Species, seed: int, settings: DrawnSettings, size_px: int) -> None:
    """One image and its mask from seed to bytes."""
    drawn = scene.sample(one, seed, settings)
    pixels, labels = render.image_and_mask(drawn, size_px)
    render.finish(pixels, drawn)
    mask_png(labels, len(one.parts))


def seconds(
    make: Callable[[species.Species, int, DrawnSettings, int], None],
    size_px: int,
    images: int,
    rounds: int,
) -> np.ndarray:
    """CPU time of each image in each round: (rounds, images)."""
    settings = read_settings(PROJECT / "datasets" / "drawn.yaml")
    catalogue = list(species.catalogue().items())
    found = np.empty((rounds, images))
    for row in found:
        for number in range(images):
            label, one = catalogue[number % len(catalogue)]
            start = time.process_time()
            make(one, image_seed(1, label, number), settings, size_px)
            row[number] = time.process_time() - start
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200, help="per round (default: 200)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"n = {given.rounds} rounds of {given.images} images, one core, CPU time")
    print("px   masks  median/s  fastest/s")
    for size_px in SIZES_PX:
        for make, masks in ((draw_with_mask, "with"), (draw, "none")):
            found = seconds(make, size_px, given.images, given.rounds)
            middle = given.images / np.median(found.sum(axis=1))
            best = given.images / found.min(axis=0).sum()
            print(f"{size_px:<4} {masks:<6} {middle:8.0f}  {best:9.0f}", flush=True)


if __name__ == "__main__":
    main()
