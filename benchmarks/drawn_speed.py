"""How many drawn images per second one core makes, with part masks and without.

    python benchmarks/drawn_speed.py [--images 200] [--rounds 5]

The time of an image is that from its seed to its bytes: scene, pixels, noise, JPEG; with masks also
the labels and their indexed PNG. Every round draws the same images of the whole catalogue in one
process. Prints the median round, and the sum over images of the fastest round of each. The two
differ by what else the machine does.
"""

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np
from support import PROJECT

from pokecam.data.drawn import render, scene, species
from pokecam.data.drawn.nuisances import DrawnSettings, read_settings
from pokecam.data.sources.drawn import image_seed, mask_png

SIZES_PX = (256, 128)


def draw(creature: species.Species, seed: int, settings: DrawnSettings, size_px: int) -> None:
    """Make one image from seed to bytes, without a mask."""
    sampled = scene.sample(creature, seed, settings)
    render.finish(render.image(sampled, size_px), sampled)


def draw_with_mask(
    creature: species.Species, seed: int, settings: DrawnSettings, size_px: int
) -> None:
    """Make one image and its mask from seed to bytes."""
    sampled = scene.sample(creature, seed, settings)
    pixels, labels = render.image_and_mask(sampled, size_px)
    render.finish(pixels, sampled)
    mask_png(labels, len(creature.parts))


def seconds(
    make: Callable[[species.Species, int, DrawnSettings, int], None],
    size_px: int,
    images: int,
    rounds: int,
) -> np.ndarray:
    """Return the CPU time of each image in each round, (rounds, images)."""
    settings = read_settings(PROJECT / "datasets" / "drawn.yaml")
    catalogue = list(species.catalogue().items())
    times = np.empty((rounds, images))
    for row in times:
        for number in range(images):
            label, creature = catalogue[number % len(catalogue)]
            start = time.process_time()
            make(creature, image_seed(1, label, number), settings, size_px)
            row[number] = time.process_time() - start
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200, help="per round (default: 200)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"n = {options.rounds} rounds of {options.images} images, one core, CPU time")
    print("px   masks  median/s  fastest/s")
    for size_px in SIZES_PX:
        for make, masks in ((draw_with_mask, "with"), (draw, "none")):
            times = seconds(make, size_px, options.images, options.rounds)
            middle = options.images / np.median(times.sum(axis=1))
            best = options.images / times.min(axis=0).sum()
            print(f"{size_px:<4} {masks:<6} {middle:8.0f}  {best:9.0f}", flush=True)


if __name__ == "__main__":
    main()
