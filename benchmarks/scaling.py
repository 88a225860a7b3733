"""How time and memory of every stage grow with the number of classes and the size of images.

    python benchmarks/scaling.py                                 # 10, 40, 150 classes × 60 images
    python benchmarks/scaling.py --classes 10 --sizes 112 224 448
    python benchmarks/scaling.py --images /tmp/chimeras        # drawn once, then reused
    python benchmarks/scaling.py --classes 150 --epochs 0        # the default epochs

The images are chimeras (`pokecam.commands.pretrain.chimera`), as JPEG files in class folders;
every parameter is that of params.yaml but for the number of epochs. That number depends on the
number of images; here it is fixed unless --epochs is 0, so that different numbers of images can be
compared. Each stage runs as in DVC, as a process of its own. Memory is sampled every 20 ms from
/proc (Linux):

    private   the highest private memory of the process in MB, less what it is after the libraries
              of the stage are imported
    files     the highest memory of mapped files in MB, less the same. The kernel frees it when it
              needs memory

Prints seconds and MB of every stage, and seconds for every 1,000 images.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from support import PROJECT
from support.images import chimeras
from support.stages import SAMPLE_S, Memory, measure, workplace

STAGES = ("download", "select", "split", "weights", "train", "evaluate", "cam", "judge", "report")


def imports(stage: str) -> Memory:
    """Return the memory that importing the libraries of a stage takes."""
    code = f"import time, stages.{stage}; time.sleep({5 * SAMPLE_S})"
    return measure([sys.executable, "-c", code], PROJECT)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--classes", nargs="+", type=int, default=[10, 40, 150])
    parser.add_argument("--sizes", nargs="+", type=int, default=[224], help="image_size")
    parser.add_argument("--per-class", type=int, default=60)
    parser.add_argument("--images", type=Path, help="folder where drawn images stay")
    parser.add_argument(
        "--epochs", type=int, default=2, help="0: as many as the number of images asks for"
    )
    options = parser.parse_args()
    imported = {stage: imports(stage) for stage in STAGES}
    with tempfile.TemporaryDirectory() as temporary:
        source = options.images or Path(temporary, "images")
        chimeras(source, max(options.classes), options.per_class)
        for classes in options.classes:
            for size_px in options.sizes:
                folder = workplace(
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
                    seconds, highest = measure(command, folder)
                    more = highest.above(imported[stage])
                    print(
                        f"{stage:9} {seconds:7.1f} {1000 * seconds / n:9.2f} "
                        f"{more.private:11.0f} {more.files:9.0f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
