"""The cost of judging the maps, as a stage and in forward passes.

    python benchmarks/judge.py                # in a clone where `dvc repro` has run
    python benchmarks/judge.py --rounds 5 --threads 1

Uses the images and the network of the default run in data/ and models/. Runs the judge stage in
temporary folders, as a process of its own, and prints medians of the rounds, with the smallest and
largest values:

    default       seconds with the parameters of params.yaml
    everything    seconds with all measures of all test images, for every method of `--methods`
    a quarter, half, all
                  seconds as `default`, but with that many of the test images. The time grows
                  linearly if the second half takes twice as long as the second quarter
    deletion and insertion, average drop, ROAD
                  time divided by that of only their forward passes, in the same batches, in turns

Beside the seconds is the highest private memory of the process in MB (`support.stages`).
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
import torch
from support import PROJECT
from support.stages import (
    load_test_case,
    measure,
    require_default_run,
    workplace_of_default_run,
)

from pokecam.data.packed import csv_tables, splits
from pokecam.judging import faithfulness
from pokecam.judging.case import Case
from pokecam.judging.heatmaps import heatmaps_of_predicted
from pokecam.networks import classifier, device

METHODS = ["cam", "layer_cam", "finer_cam", "eigen_cam", "hires_cam"]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def print_row(name: str, values: list[float], unit: str) -> None:
    middle = statistics.median(values)
    print(f"{name:26} {middle:8.2f} {min(values):8.2f} {max(values):8.2f}  {unit}", flush=True)


def in_forward_passes(case: Case, rounds: int) -> None:
    """Compare the time of the three measures of 4 images with that of their forward passes."""
    x = classifier.prepare(torch.from_numpy(case.packed.pixels[case.rows[:4]]))
    maps = heatmaps_of_predicted(case, np.arange(4), x)
    target = torch.from_numpy(case.predicted[:4])
    n, m = maps.shape[:2]
    pixels = faithfulness.order(maps)
    network = case.probabilities
    measures: dict[str, tuple[int, Callable[[], object]]] = {
        "deletion and insertion": (
            n * (2 * m * (faithfulness.STEPS - 1) + 3),
            lambda: faithfulness.deletion_insertion(network, x, target, faithfulness.order(maps)),
        ),
        "average drop": (
            n * (m + 1),
            lambda: faithfulness.drop_and_increase(network, x, target, maps),
        ),
        "ROAD": (
            n * m * 2 * len(faithfulness.PERCENTILES),
            lambda: faithfulness.road(network, x, target, pixels, [0] * n),
        ),
    }
    batch = x[[0] * faithfulness.CPU_AT_ONCE].contiguous(memory_format=torch.channels_last)
    ratios: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, (passes, work) in measures.items():
            batches, rest = divmod(passes, faithfulness.CPU_AT_ONCE)
            passes_s = seconds(lambda: [network(batch) for _ in range(batches)])  # noqa: B023
            passes_s += seconds(lambda: network(batch[:rest])) if rest else 0.0  # noqa: B023
            ratios[name].append(seconds(work) / passes_s)
    for name, values in ratios.items():
        print_row(name, values, "× its forward passes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    options = parser.parse_args()
    require_default_run()
    device.pick_device("cpu")
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
        torch.set_num_threads(options.threads)
    test = splits.subset_rows(csv_tables.read_table(PROJECT / "data/split.csv"), "test")
    n = len(test)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {
            "default": workplace_of_default_run(Path(temporary, "default")),
            "everything": workplace_of_default_run(
                Path(temporary, "everything"), cam_methods=options.methods, judge_images=n
            ),
            "a quarter of the images": workplace_of_default_run(
                Path(temporary, "quarter"), judge_images=n // 4
            ),
            "half of the images": workplace_of_default_run(
                Path(temporary, "half"), judge_images=n // 2
            ),
            "all images": workplace_of_default_run(Path(temporary, "all"), judge_images=n),
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
                took_s, memory = measure([sys.executable, "-m", "stages.judge"], folder)
                times[name].append(took_s)
                private[name] = max(private[name], memory.private)
        for name, values in times.items():
            print_row(name, values, f"s, {private[name]:.0f} MB")
        quarter, half, everything = (np.array(times[name]) for name in list(folders)[2:])
        growth = (everything - half) / (half - quarter)
        print_row("(all − half) / (half − ¼)", growth.tolist(), "2 if linear")
        in_forward_passes(load_test_case(folders["everything"]), options.rounds)


if __name__ == "__main__":
    main()
