"""How time and memory of every stage grow with the number of classes and the size of images.

    python benchmarks/scaling.py                                 # 10, 40, 150 classes × 60 images
    python benchmarks/scaling.py --classes 10 --sizes 112 224 448
    python benchmarks/scaling.py --images /tmp/chimeras        # drawn once, kept there
    python benchmarks/scaling.py --classes 150 --epochs 0        # as many epochs as follow

The images are chimeras (`pokecam.commands.pretrain.chimera`), as JPEG files in class folders;
every setting is that of params.yaml but for the number of epochs, which follows from the number of
images and is fixed here, unless asked for, so that one number of images can be compared with
another. Each stage runs as DVC does, as a process of its own; memory is sampled every 20 ms from
/proc (Linux):

    private   MB that are the process's own, at the highest, less what is so after importing the
              stage's libraries
    files     MB of mapped files that were in memory then, less the same; the kernel takes them
              back when it needs to

Prints seconds and MB of every stage, and seconds for every 1,000 images.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import drawn
from PIL import Image

from pokecam.commands.pretrain.pretrain import shipped_menagerie

STAGES = ("download", "select", "split", "weights", "train", "evaluate", "cam", "judge", "report")
SAMPLE_S = 0.02


@dataclass(frozen=True)
class Memory:
    """In MB."""

    private: float = 0.0
    files: float = 0.0

    def highest(self, other: "Memory") -> "Memory":
        return Memory(max(self.private, other.private), max(self.files, other.files))

    def above(self, other: "Memory") -> "Memory":
        return Memory(self.private - other.private, self.files - other.files)


def memory(pid: int) -> Memory:
    """Of a process now; nothing of one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return Memory()
    kb = {
        key: int(value.split()[0])
        for key, _, value in (line.partition(":") for line in status.splitlines())
        if key in ("RssAnon", "RssFile")
    }
    return Memory(kb.get("RssAnon", 0) / 1024, kb.get("RssFile", 0) / 1024)


def measured(command: list[str], folder: Path) -> tuple[float, Memory]:
    """(seconds, highest memory) of a process."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(drawn.PROJECT)},
            stdout=subprocess.DEVNULL,
            stderr=told,
        )
        highest = Memory()
        while process.poll() is None:
            highest = highest.highest(memory(process.pid))
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - started
        if process.returncode:
            told.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{told.read()}")
    return seconds, highest


def imports(stage: str) -> Memory:
    """What importing a stage's libraries takes."""
    code = f"import time, stages.{stage}; time.sleep({5 * SAMPLE_S})"
    return measured([sys.executable, "-c", code], drawn.PROJECT)[1]


def draw(task: tuple[Path, int, int, int]) -> None:
    """Write the images of one creature: (folder, number, how many, their side)."""
    folder, number, images, size_px = task
    menagerie = shipped_menagerie()
    genome = menagerie.genomes()[number]
    target = folder / f"creature{number:03d}"
    target.mkdir(parents=True, exist_ok=True)
    for view in range(images):
        path = target / f"{view:03d}.jpg"
        if not path.exists():
            image = Image.fromarray(menagerie.image(number, genome, view))
            image.resize((size_px, size_px), Image.Resampling.BICUBIC).save(path, quality=90)


def images(folder: Path, classes: int, per_class: int) -> Path:
    """A folder of class folders."""
    with ProcessPoolExecutor() as pool:
        tasks = [(folder, number, per_class, 256) for number in range(classes)]
        list(pool.map(draw, tasks))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--classes", nargs="+", type=int, default=[10, 40, 150])
    parser.add_argument("--sizes", nargs="+", type=int, default=[224], help="image_size")
    parser.add_argument("--per-class", type=int, default=60)
    parser.add_argument("--images", type=Path, help="where drawn images are kept")
    parser.add_argument("--epochs", type=int, default=2, help="0: what follows from the images")
    options = parser.parse_args()
    bare = {stage: imports(stage) for stage in STAGES}
    with tempfile.TemporaryDirectory() as temporary:
        source = options.images or Path(temporary, "images")
        images(source, max(options.classes), options.per_class)
        for classes in options.classes:
            for size_px in options.sizes:
                folder = drawn.workplace(
                    Path(temporary, f"{classes}-{size_px}"),
                    source=str(source.resolve()),
                    classes=[f"creature{number:03d}" for number in range(classes)],
                    lookalikes=[],
                    image_size=size_px,
                    epochs=options.epochs or None,
                )
                n = classes * options.per_class
                epochs = f"{options.epochs} epochs" if options.epochs else "all epochs"
                print(f"\n{classes} classes, {n} images of {size_px} px, {epochs}")
                print(f"{'':9} {'s':>7} {'s / 1000':>9} {'private MB':>11} {'files MB':>9}")
                for stage in STAGES:
                    command = [sys.executable, "-m", f"stages.{stage}"]
                    seconds, highest = measured(command, folder)
                    more = highest.above(bare[stage])
                    print(
                        f"{stage:9} {seconds:7.1f} {1000 * seconds / n:9.2f} "
                        f"{more.private:11.0f} {more.files:9.0f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
