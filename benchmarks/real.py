"""Are maps of real images faithful, and what separates real look-alikes?

    python benchmarks/real.py                 # 25 minutes on one core, most of them Score-CAM's

Fine-tunes mobilenet_v2 from ../shared/real/weights on ../shared/real/pokemon10 with the stages and
the committed parameters, and judges the maps of all test images. Prints every measure of
faithfulness by method, with 95 % confidence intervals; the paired tests with p < 0.05 after Holm's
correction; and for every ordered pair of look-alikes the margin, and how far it falls without the
5 % of the pixels that are the strongest evidence for the one class against the other.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import pandas as pd
from support.figures import wide
from support.images import IMAGENET, REAL
from support.stages import run, workplace

from pokecam.data.packed import csv_tables

METHODS = ["cam", "grad_cam", "layer_cam", "score_cam", "finer_cam"]
STAGES = ("download", "select", "split", "weights", "train", "evaluate", "cam", "judge")


def judge(folder: Path) -> Path:
    """Run the stages up to `judge` in a new folder."""
    workplace(
        folder,
        source=str(REAL / "pokemon10"),
        backbone="mobilenet_v2",
        weights=str(IMAGENET),
        cam_methods=METHODS,
        judge_measures=["faithfulness", "lookalikes"],
        judge_images=1000,
    )
    run(folder, *STAGES)
    return folder


def print_tables(folder: Path) -> None:
    predictions = csv_tables.read_table(folder / "data/evaluation/predictions.csv")
    accuracy = (predictions.label == predictions.predicted).mean()
    print(f"accuracy {accuracy:.3f}, n = {len(predictions)}\n")
    tables = folder / "data/judgement"
    measures = csv_tables.read_table(tables / "measures.csv")
    print(wide(measures[measures.label == ""], ["method"]).to_string(), "\n")
    tests = pd.read_csv(tables / "tests.csv")
    print(tests[tests.p_holm < 0.05].round(4).to_string(index=False), "\n")
    pairs = csv_tables.read_table(tables / "lookalikes.csv")
    print(wide(pairs[pairs.value != ""], ["label", "against", "method"]).to_string())


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    if not REAL.is_dir():
        sys.exit(f"there is no {REAL}")
    with tempfile.TemporaryDirectory() as temporary:
        print_tables(judge(Path(temporary, "real")))


if __name__ == "__main__":
    main()
