"""What judging the maps costs, as a whole and in forward passes.

    python benchmarks/judge.py                # in a clone where `dvc repro` has run
    python benchmarks/judge.py --rounds 5 --threads 1

Takes the pictures, network and maps of the default run in data/ and models/. Prints, each the
median of the rounds with the smallest and largest:

    default       seconds of the judge stage as params.yaml asks for it
    everything    … with all measures of all test pictures, for every method of `--methods`
    a quarter, half, all
                  … as `default` of so many of the test pictures; time grows linearly if the second
                  half takes twice as long as the second quarter
    deletion and insertion, ROAD, average drop
                  time over that of their forward passes alone, in the same batches, in turns

and the peak of memory that is the process's own for 20 and for 120 pictures.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from pokecam import classifier, device, faithfulness, images, judging, parts, splits  # noqa: E402
from pokecam.cam import store  # noqa: E402
from pokecam.cam.methods import CamSettings  # noqa: E402
from pokecam.params import read  # noqa: E402

METHODS = ["cam", "grad_cam", "layer_cam", "finer_cam", "eigen_cam"]


def case(folder: Path, methods: list[str]) -> judging.Case:
    """The default run's test pictures with maps of these methods."""
    packed = images.load(PROJECT / "data/images")
    rows = splits.rows(images.read_table(PROJECT / "data/split.csv"), "test")
    network = classifier.load(PROJECT / "models/classifier.safetensors")
    alike = [[packed.classes.index(name) for name in group] for group in packed.lookalikes]
    store.write(folder, network, packed.pixels, rows, methods, alike=alike)
    predictions = images.read_table(PROJECT / "data/evaluation/predictions.csv")
    predicted = pd.Index(packed.classes).get_indexer(predictions.predicted)
    maps = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in methods}
    return judging.Case(network, None, packed, rows, predicted, maps)


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def judged(one: judging.Case, settings: judging.JudgeSettings) -> None:
    """All that the stage computes."""
    redrawing = parts.Redrawing(PROJECT / "drawn", one.network.image_size)
    judging.score(one, settings, redrawing)
    if "sanity" in settings.judge_measures:
        judging.after_randomisation(one, settings)


def shown(name: str, times: list[float], unit: str) -> None:
    middle = statistics.median(times)
    print(f"{name:28} {middle:8.2f} {min(times):8.2f} {max(times):8.2f}  {unit}", flush=True)


def in_forward_passes(one: judging.Case, rounds: int) -> None:
    """The three measures of 4 pictures against the forward passes that they consist of."""
    network = judging.probability(one.network)
    x = classifier.prepare(torch.from_numpy(one.packed.pixels[one.rows[:4]]))
    maps = one.shown(slice(0, 4), x)
    target = torch.from_numpy(one.predicted[:4])
    n, m = maps.shape[:2]
    places = faithfulness.ranks(maps)
    measures: dict[str, tuple[int, Callable[[], object]]] = {
        "deletion and insertion": (
            n * (2 * m * (faithfulness.STEPS - 1) + 2) + 1,
            lambda: faithfulness.deletion_insertion(network, x, target, faithfulness.ranks(maps)),
        ),
        "average drop": (
            n * (m + 1),
            lambda: faithfulness.seen_through(network, x, target, maps),
        ),
        "ROAD": (
            n * m * 2 * len(faithfulness.PERCENTILES),
            lambda: faithfulness.road(network, x, target, places, [0] * n),
        ),
    }
    batch = x[[0] * faithfulness.AT_ONCE].contiguous(memory_format=torch.channels_last)
    ratios: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, (passes, run) in measures.items():
            batches, rest = divmod(passes, faithfulness.AT_ONCE)
            alone = seconds(lambda: [network(batch) for _ in range(batches)])  # noqa: B023
            alone += seconds(lambda: network(batch[:rest])) if rest else 0.0  # noqa: B023
            ratios[name].append(seconds(run) / alone)
    for name, values in ratios.items():
        shown(name, values, "× its forward passes")


def peak(pictures: int) -> float:
    """MB of a process that judges so many pictures, at its peak."""
    command = [sys.executable, __file__, "--peak-of", str(pictures)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (PROJECT / "data/cams").is_dir():
        sys.exit("there are no maps in data/cams: run `dvc repro` first")
    device.pick("cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = read(judging.JudgeSettings, PROJECT / "params.yaml")
    chosen = read(CamSettings, PROJECT / "params.yaml").cam_methods
    with tempfile.TemporaryDirectory() as temporary:
        default = case(Path(temporary), chosen)
        if options.peak_of:
            judged(default, settings.model_copy(update={"judge_pictures": options.peak_of}))
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        everything = case(Path(temporary), options.methods)
        n = len(default.rows)
        print(
            f"{n} pictures, {len(chosen)} and {len(options.methods)} methods and three baselines, "
            f"{torch.get_num_threads()} threads, torch {torch.__version__}, n = {options.rounds}\n"
            f"{'':28} {'median':>8} {'min':>8} {'max':>8}"
        )
        times: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, one, pictures in (
                ("default", default, settings.judge_pictures),
                ("everything", everything, n),
                ("a quarter of the pictures", default, n // 4),
                ("half of the pictures", default, n // 2),
                ("all pictures", default, n),
            ):
                asked = settings.model_copy(update={"judge_pictures": pictures})
                took = seconds(lambda: judged(one, asked))  # noqa: B023
                times.setdefault(name, []).append(took)
        for name, values in times.items():
            shown(name, values, "s")
        quarter, half, whole = (
            np.array(times[name])
            for name in ("a quarter of the pictures", "half of the pictures", "all pictures")
        )
        growth = (whole - half) / (half - quarter)  # 2 if time is linear in pictures
        shown("(all − half) / (half − ¼)", growth.tolist(), "2 if linear")
        in_forward_passes(everything, options.rounds)
    for pictures in (20, n):
        print(f"peak with {pictures:3} pictures {peak(pictures):15.0f} MB")


if __name__ == "__main__":
    main()
