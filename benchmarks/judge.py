"""What judging the maps costs, as a stage and in forward passes.

    python benchmarks/judge.py                # in a clone where `dvc repro` has run
    python benchmarks/judge.py --rounds 5 --threads 1

Takes the images and the network of the default run in data/ and models/. Runs the judge stage
in a temporary folder, as a process of its own, and prints, each the median of the rounds with the
smallest and largest:

    default       seconds, as params.yaml asks for it
    everything    … with all measures of all test images, for every method of `--methods`
    a quarter, half, all
                  … as `default`, but of so many of the test images; time grows linearly if the
                  second half takes twice as long as the second quarter
    deletion and insertion, average drop, ROAD
                  time over that of their forward passes alone, in the same batches, in turns

and beside the seconds the highest memory that is the process's own, in MB (scaling.py).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from drawn import PROJECT, run, workplace
from scaling import measured

from pokecam.data.packed import csv_tables, images, splits
from pokecam.judging import faithfulness
from pokecam.judging.case import Case
from pokecam.judging.heatmaps import heatmaps_of_predicted
from pokecam.networks import classifier, device

METHODS = ["cam", "layer_cam", "finer_cam", "eigen_cam", "hires_cam"]


def need_default_run() -> None:
    if not (PROJECT / "data/evaluation").is_dir():
        sys.exit("there is nothing to judge: run `dvc repro` first")


def prepared(folder: Path, **changed: object) -> Path:
    """A folder with the default run's results, in which judge can run."""
    workplace(folder, **changed)
    (folder / "data").mkdir()
    for name in ("data/images", "data/split.csv", "data/evaluation", "models"):
        (folder / name).symlink_to(PROJECT / name)
    run(folder, "cam")
    return folder


def loaded(folder: Path, methods: list[str]) -> Case:
    """What judge judges there."""
    packed = images.load_packed(folder / "data/images")
    predictions = csv_tables.read_table(folder / "data/evaluation/predictions.csv")
    return Case(
        classifier.load_classifier(folder / "models/classifier.safetensors"),
        None,
        packed,
        splits.subset_rows(csv_tables.read_table(folder / "data/split.csv"), "test"),
        pd.Index(packed.classes).get_indexer(predictions.predicted),
        {name: np.load(folder / f"data/cams/{name}.npy", mmap_mode="r") for name in methods},
    )


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def shown(name: str, values: list[float], unit: str) -> None:
    middle = statistics.median(values)
    print(f"{name:26} {middle:8.2f} {min(values):8.2f} {max(values):8.2f}  {unit}", flush=True)


def in_forward_passes(case: Case, rounds: int) -> None:
    """The three measures of 4 images against the forward passes that they consist of."""
    x = classifier.prepare(torch.from_numpy(case.packed.pixels[case.rows[:4]]))
    maps = heatmaps_of_predicted(case, np.arange(4), x)
    target = torch.from_numpy(case.predicted[:4])
    n, m = maps.shape[:2]
    pixels = faithfulness.order(maps)
    network = case.probability
    measures: dict[str, tuple[int, Callable[[], object]]] = {
        "deletion and insertion": (
            n * (2 * m * (faithfulness.STEPS - 1) + 3),
            lambda: faithfulness.deletion_insertion(network, x, target, faithfulness.order(maps)),
        ),
        "average drop": (
            n * (m + 1),
            lambda: faithfulness.seen_through(network, x, target, maps),
        ),
        "ROAD": (
            n * m * 2 * len(faithfulness.PERCENTILES),
            lambda: faithfulness.road(network, x, target, pixels, [0] * n),
        ),
    }
    batch = x[[0] * faithfulness.AT_ONCE].contiguous(memory_format=torch.channels_last)
    ratios: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, (passes, work) in measures.items():
            batches, rest = divmod(passes, faithfulness.AT_ONCE)
            alone = seconds(lambda: [network(batch) for _ in range(batches)])  # noqa: B023
            alone += seconds(lambda: network(batch[:rest])) if rest else 0.0  # noqa: B023
            ratios[name].append(seconds(work) / alone)
    for name, values in ratios.items():
        shown(name, values, "× its forward passes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    options = parser.parse_args()
    need_default_run()
    device.pick_device("cpu")
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        torch.set_num_threads(options.threads)
    test = splits.subset_rows(csv_tables.read_table(PROJECT / "data/split.csv"), "test")
    n = len(test)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {
            "default": prepared(Path(temporary, "default")),
            "everything": prepared(
                Path(temporary, "everything"), cam_methods=options.methods, judge_images=n
            ),
            "a quarter of the images": prepared(Path(temporary, "quarter"), judge_images=n // 4),
            "half of the images": prepared(Path(temporary, "half"), judge_images=n // 2),
            "all images": prepared(Path(temporary, "all"), judge_images=n),
        }
        print(
            f"{n} images, {len(options.methods)} methods in `everything`, baselines not counted, "
            f"{torch.get_num_threads()} threads, torch {torch.__version__}, n = {options.rounds}\n"
            f"{'':26} {'median':>8} {'min':>8} {'max':>8}"
        )
        times: dict[str, list[float]] = {name: [] for name in folders}
        private = dict.fromkeys(folders, 0.0)
        for _ in range(options.rounds):
            for name, folder in folders.items():
                took, memory = measured([sys.executable, "-m", "stages.judge"], folder)
                times[name].append(took)
                private[name] = max(private[name], memory.private)
        for name, values in times.items():
            shown(name, values, f"s, {private[name]:.0f} MB")
        quarter, half, whole = (np.array(times[name]) for name in list(folders)[2:])
        growth = (whole - half) / (half - quarter)
        shown("(all − half) / (half − ¼)", growth.tolist(), "2 if linear")
        in_forward_passes(loaded(folders["everything"], options.methods), options.rounds)


if __name__ == "__main__":
    main()
