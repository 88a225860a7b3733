"""How many drawn pictures per second one core makes, with part masks and without.

    python benchmarks/drawn_speed.py [--pictures 200] [--rounds 5]

A picture counts from its seed to its bytes: scene, pixels, noise, JPEG; with masks also the labels
and their indexed PNG. Every round draws the same pictures of the whole catalogue in one process.
Shown are the median round, and what the fastest of the rounds for each single picture adds up to:
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
from pokecam.data.sources.drawn import mask_png, picture_seed  # noqa: E402

SIZES_PX = (256, 128)


def draw(one: species.Species, seed: int, settings: DrawnSettings, size_px: int) -> None:
    """One picture from seed to bytes, without a mask."""
    drawn = scene.sample(one, seed, settings)
    render.finish(render.picture(drawn, size_px), drawn)


def draw_with_mask(one: species.Species, seed: int, settings: DrawnSettings, size_px: int) -> None:
    """One picture and its mask from seed to bytes."""
    drawn = scene.sample(one, seed, settings)
    pixels, labels = render.picture_and_mask(drawn, size_px)
    render.finish(pixels, drawn)
    mask_png(labels, len(one.parts))


def seconds(
    make: Callable[[species.Species, int, DrawnSettings, int], None],
    size_px: int,
    pictures: int,
    rounds: int,
) -> np.ndarray:
    """CPU time of each picture in each round: (rounds, pictures)."""
    settings = read_settings(PROJECT / "drawn")
    catalogue = list(species.catalogue().items())
    found = np.empty((rounds, pictures))
    for row in found:
        for number in range(pictures):
            label, one = catalogue[number % len(catalogue)]
            start = time.process_time()
            make(one, picture_seed(1, label, number), settings, size_px)
            row[number] = time.process_time() - start
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=200, help="per round (default: 200)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"n = {given.rounds} rounds of {given.pictures} pictures, one core, CPU time")
    print("px   masks  median/s  fastest/s")
    for size_px in SIZES_PX:
        for make, masks in ((draw_with_mask, "with"), (draw, "none")):
            found = seconds(make, size_px, given.pictures, given.rounds)
            middle = given.pictures / np.median(found.sum(axis=1))
            best = given.pictures / found.min(axis=0).sum()
            print(f"{size_px:<4} {masks:<6} {middle:8.0f}  {best:9.0f}", flush=True)


if __name__ == "__main__":
    main()
