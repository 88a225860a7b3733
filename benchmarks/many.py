"""Download, select and split of up to 100,000 images: time, memory, and going on after a kill.

    python benchmarks/many.py                      # 25,000, 50,000, 100,000 images, about 20 min
    python benchmarks/many.py --images /tmp/many # made once, kept there

The images are views of 600 drawn chimeras: each a random crop of a half to all of one, mirrored
or not, at 96 px, as JPEG files in 150 class folders; near-duplicates are among them, as in any
collection. `image_size` is 64, so that the packed pixels of 100,000 take 1.2 GB; all else is that
of params.yaml. Each stage runs as DVC runs it, as a process of its own; memory is the process's
own at the highest, sampled every 20 ms from /proc (Linux), libraries included.

Last, the largest select is killed after half its time and run again.
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

import drawn
import numpy as np
from PIL import Image, ImageOps
from scaling import images, measured

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
    """A folder with `count` images in class folders; done once."""
    target = folder / f"{count}"
    if target.is_dir():
        return target
    source = images(folder / "chimeras", 10, 60)
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
    """Of all files in it."""
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def killed_and_resumed(folder: Path, after_s: float) -> None:
    """Kill `select` after so long, run it again, and say if the result is equal."""
    expected = digest(folder / "data" / "images")
    command = [sys.executable, "-m", "stages.select"]
    environment = os.environ | {"PYTHONPATH": str(drawn.PROJECT)}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as first:
        time.sleep(after_s)
        first.kill()
    seconds, _ = measured(command, folder)
    equal = "equal" if digest(folder / "data" / "images") == expected else "DIFFERENT"
    print(f"select killed after {after_s:.0f} s, then {seconds:.1f} s: {equal}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", nargs="+", type=int, default=[25_000, 50_000, 100_000])
    parser.add_argument("--images", type=Path, help="where the images are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        keep = (options.images or Path(temporary, "images")).resolve()
        print(f"{'':9} {'images':>9} {'s':>7} {'s / 1000':>9} {'MB':>6}")
        for count in options.counts:
            folder = drawn.workplace(
                Path(temporary, str(count)),
                source=str(make(keep, count)),
                classes="all",
                lookalikes=[],
                image_size=64,
            )
            for stage in STAGES:
                seconds, highest = measured([sys.executable, "-m", f"stages.{stage}"], folder)
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
