"""Are maps of real images faithful, and what separates real look-alikes?

    python benchmarks/real.py                 # 25 minutes on one core, most of them Score-CAM's

Fine-tunes mobilenet_v2 from ../shared/real/weights on ../shared/real/pokemon10 with the stages and
the committed parameters, and asks all test images. Prints every measure of faithfulness by
method, with 95 % intervals over images; the paired tests that are certain after Holm's
correction; and for every ordered pair of look-alikes the margin and how far it falls without the
5 % of pixels that speak most for the one against the other.
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd
from drawn import run, workplace
from figures import wide
from images import IMAGENET, REAL

from pokecam.data.packed import csv_tables

METHODS = ["cam", "grad_cam", "layer_cam", "score_cam", "finer_cam"]
STAGES = ("download", "select", "split", "weights", "train", "evaluate", "cam", "judge")


def prepared(where: Path) -> Path:
    """A folder in which the stages up to `judge` have run."""
    place = workplace(
        where,
        source=str(REAL / "pokemon10"),
        backbone="mobilenet_v2",
        weights=str(IMAGENET),
        cam_methods=METHODS,
        judge_measures=["faithfulness", "lookalikes"],
        judge_images=1000,
    )
    run(place, *STAGES)
    return place


def tell(place: Path) -> None:
    said = csv_tables.read_table(place / "data/evaluation/predictions.csv")
    print(f"accuracy {(said.label == said.predicted).mean():.3f}, n = {len(said)}\n")
    tables = place / "data/judgement"
    measures = csv_tables.read_table(tables / "measures.csv")
    print(wide(measures[measures.label == ""], ["method"]).to_string(), "\n")
    tests = pd.read_csv(tables / "tests.csv")
    print(tests[tests.p_holm < 0.05].round(4).to_string(index=False), "\n")
    pairs = csv_tables.read_table(tables / "lookalikes.csv")
    print(wide(pairs[pairs.value != ""], ["label", "against", "method"]).to_string())


def main() -> None:
    if not REAL.is_dir():
        sys.exit(f"there is no {REAL}")
    with tempfile.TemporaryDirectory() as temporary:
        tell(prepared(Path(temporary, "real")))


if __name__ == "__main__":
    main()
