"""Are maps of real images faithful, and what separates real look-alikes?

    python benchmarks/real.py                 # 25 minutes on one core, most of them Score-CAM's
    python benchmarks/real.py --splits 5 --methods cam occlusion fine_occlusion

Fine-tunes mobilenet_v2 from ../shared/real/weights on ../shared/real/pokemon10 with the stages and
the committed parameters, and judges the maps of all test images. Prints every measure of
faithfulness by method, with 95 % confidence intervals; the paired tests with p < 0.05 after Holm's
correction; and for every ordered pair of look-alikes the margin, and how far it falls without the
5 % of the pixels that are the strongest evidence for the one class against the other.

With several splits, each with a seed of its own, it prints the measures of faithfulness of all test
images together, and how far each method is above the Gaussian in the centre. An image that several
splits test has the mean of its scores, so that every image counts once. Intervals and tests are
over images, as if the trainings were one.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from support.figures import wide, with_interval
from support.images import IMAGENET, REAL
from support.stages import run, workplace

from pokecam.data.packed import csv_tables
from pokecam.judging.case import BASELINES
from pokecam.judging.significance import holm, interval, p_paired

METHODS = ["cam", "grad_cam", "layer_cam", "score_cam", "finer_cam"]
FAITHFULNESS = {"deletion": "↓", "insertion": "↑", "road": "↑", "flip": "↓"}
STAGES = ("download", "select", "split", "weights", "train", "evaluate", "cam", "judge")


def judge(folder: Path, methods: list[str], number: int = 1) -> Path:
    """Run the stages up to `judge` in a new folder, with a number as both seeds."""
    workplace(
        folder,
        source=str(REAL / "pokemon10"),
        backbone="mobilenet_v2",
        weights=str(IMAGENET),
        split_seed=number,
        seed=number,
        cam_methods=methods,
        judge_measures=["faithfulness", "lookalikes"],
        judge_images=1000,
    )
    run(folder, *STAGES)
    return folder


def accuracy(folder: Path) -> str:
    predictions = csv_tables.read_table(folder / "data/evaluation/predictions.csv")
    is_correct = predictions.label == predictions.predicted
    return f"accuracy {is_correct.mean():.3f}, n = {len(predictions)}"


def print_tables(folder: Path) -> None:
    """Print the tables of one split."""
    tables = folder / "data/judgement"
    measures = csv_tables.read_table(tables / "measures.csv")
    print(wide(measures[measures.label == ""], ["method"]).to_string(), "\n")
    tests = pd.read_csv(tables / "tests.csv")
    print(tests[tests.p_holm < 0.05].round(4).to_string(index=False), "\n")
    pairs = csv_tables.read_table(tables / "lookalikes.csv")
    print(wide(pairs[pairs.value != ""], ["label", "against", "method"]).to_string())


def print_together(folders: list[Path]) -> None:
    """Print the measures of several splits: each method, and its difference to the Gaussian."""
    tables = [csv_tables.read_table(folder / "data/judgement/scores.csv") for folder in folders]
    scores = pd.concat(tables).set_index(["file", "method"])[list(FAITHFULNESS)].astype(float)
    of_images = scores.groupby(level=["file", "method"]).mean().unstack("method")
    rows = []
    for measure, arrow in FAITHFULNESS.items():
        values = of_images[measure]
        for method in values.columns:
            differences = (values[method] - values["centre"]).to_numpy()
            mean, difference = interval(values[method].to_numpy(), 0), interval(differences, 0)
            rows.append(
                {
                    "measure": f"{measure} {arrow}",
                    "method": method,
                    "n": mean.n,
                    "mean": with_interval(mean),
                    "above centre": with_interval(difference, sign="+"),
                    "p": np.nan if method in BASELINES else p_paired(differences),
                }
            )
    table = pd.DataFrame(rows)
    tested = table.p.notna()
    table.loc[tested, "p_holm"] = holm(table.p[tested].to_numpy())
    print(table.drop(columns="p").round(4).to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--splits", type=int, default=1, help="how many splits")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="names of methods")
    options = parser.parse_args()
    if not REAL.is_dir():
        sys.exit(f"there is no {REAL}")
    with tempfile.TemporaryDirectory() as temporary:
        folders = []
        for number in range(1, options.splits + 1):
            folders.append(judge(Path(temporary, str(number)), options.methods, number))
            print(f"split {number}: {accuracy(folders[-1])}\n", flush=True)
        if len(folders) == 1:
            print_tables(folders[0])
        else:
            print_together(folders)


if __name__ == "__main__":
    main()
