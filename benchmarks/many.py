"""Download, select and split of up to 100,000 images: time, memory, and continuing after a kill.

    python benchmarks/many.py                      # 25,000, 50,000, 100,000 images, about 20 min
    python benchmarks/many.py --images /tmp/many # written once, then reused

The images are views of 600 drawn chimeras, JPEG files in 150 class folders. Each is a random crop
of a half to all of a drawing, mirrored or not, at 96 px. Some are near-duplicates, as in any
collection. `image_size` is 64, so that the packed pixels of 100,000 images take 1.2 GB. All other
parameters are those of params.yaml. Each stage runs as in DVC, as a process of its own. Memory is
the highest private memory of the process and its libraries, sampled every 20 ms (Linux).

At the end, the largest select is killed after half of its time and run again.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from support import PROJECT
from support.images import chimeras
from support.stages import measure, workplace

STAGES = ("download", "select", "split")
CLASSES = 150
SIDE_PX = 96


def views(task: tuple[Path, Path, range]) -> None:
    """Write the views with these numbers."""
    source, target, numbers = task
    originals = sorted(source.rglob("*.jpg"))
    for number in numbers:
        rng = np.random.default_rng(number)
        with Image.open(originals[number % len(originals)]) as image:
            share = rng.uniform(0.5, 1.0)
            side = share**0.5 * image.width
            left, top = rng.uniform(0, image.width - side, 2)
            box = (left, top, left + side, top + side)
            view = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, box)
        if rng.integers(2):
            view = ImageOps.mirror(view)
        view.save(target / f"{number % CLASSES:03d}" / f"{number:06d}.jpg", quality=85)


def make(folder: Path, count: int) -> Path:
    """Write `count` images in class folders, unless they exist, and return the folder."""
    target = folder / f"{count}"
    if target.is_dir():
        return target
    source = chimeras(folder / "chimeras", 10, 60)
    unfinished = folder / f"{count}.unfinished"
    for label in range(CLASSES):
        (unfinished / f"{label:03d}").mkdir(parents=True, exist_ok=True)
    starts = range(0, count, 1000)
    with ProcessPoolExecutor() as pool:
        tasks = [(source, unfinished, range(at, min(at + 1000, count))) for at in starts]
        list(pool.map(views, tasks))
    unfinished.rename(target)
    return target


def digest(folder: Path) -> str:
    """Return a hash of all files in a folder."""
    digests = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digests.update(hashlib.file_digest(file, "sha256").digest())
    return digests.hexdigest()


def killed_and_resumed(folder: Path, after_s: float) -> None:
    """Kill `select` after some seconds, run it again, and print whether the result is equal."""
    expected = digest(folder / "data" / "images")
    command = [sys.executable, "-m", "stages.select"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as first:
        time.sleep(after_s)
        first.kill()
    seconds, _ = measure(command, folder)
    equal = "equal" if digest(folder / "data" / "images") == expected else "DIFFERENT"
    print(f"select killed after {after_s:.0f} s, then {seconds:.1f} s: {equal}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", nargs="+", type=int, default=[25_000, 50_000, 100_000])
    parser.add_argument("--images", type=Path, help="folder where the images stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder_of_images = (options.images or Path(temporary, "images")).resolve()
        print(f"{'':9} {'images':>9} {'s':>7} {'s / 1000':>9} {'MB':>6}")
        for count in options.counts:
            folder = workplace(
                Path(temporary, str(count)),
                source=str(make(folder_of_images, count)),
                classes="all",
                lookalikes=[],
                image_size=64,
            )
            for stage in STAGES:
                seconds, highest = measure([sys.executable, "-m", f"stages.{stage}"], folder)
                print(
                    f"{stage:9} {count:9,} {seconds:7.1f} {1000 * seconds / count:9.2f} "
                    f"{highest.private:6.0f}",
                    flush=True,
                )
                if stage == "select":
                    select_s = seconds
        killed_and_resumed(folder, select_s / 2)


if __name__ == "__main__":
    main()
