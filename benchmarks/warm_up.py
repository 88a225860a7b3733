"""Why does the training loss rise in the first epochs, and does a gentler start help?

    python benchmarks/warm_up.py --processes 2
    python benchmarks/warm_up.py --device cuda --processes 6 --out /tmp/warm_up
    python benchmarks/warm_up.py --report /tmp/warm_up/cells.csv

Drawn images, the ten default classes with 36 training, 12 validation and 60 test images each, and
the parameters of params.yaml but for the start of the learning rate:

    default        it rises during the first tenth of the steps
    long           during the first three tenths
    half, quarter  the peak rate is a half or a quarter as high

Prints the accuracy on the test images for each backbone and start (mean, lowest, and the difference
to `default`), and the training loss of each epoch, as means over the drawing seeds.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pandas as pd
from support import cells, images

from pokecam.training import schedule
from pokecam.training.fit import fit, measure

# (fraction of the steps during which the rate rises, factor of the peak rate)
STARTS = {"default": (0.1, 1.0), "long": (0.3, 1.0), "half": (0.1, 0.5), "quarter": (0.1, 0.25)}


def compute(
    folder: Path, backbone: str, seed: int, start: str, options: argparse.Namespace
) -> cells.Row:
    """Train one network, and measure it on the test images."""
    pixels = cells.load(folder, seed)
    train, val, test = (
        cells.labelled(pixels, is_member) for is_member in cells.subsets(pixels).values()
    )
    network = cells.start(backbone, images.default_classes(), seed, options)
    recipe = cells.recipe(seed, options)
    fraction, factor = STARTS[start]
    recipe = recipe.model_copy(update={"learning_rate": recipe.learning_rate * factor})
    with mock.patch.object(schedule, "WARM_UP", fraction):
        history = fit(network, train, val, recipe, pretrained=True)
    losses = {f"epoch {row.epoch}": row.train_loss for row in history.itertuples()}
    _, accuracy = measure(network, test)
    return {
        "backbone": backbone,
        "seed": seed,
        "start": start,
        "accuracy": accuracy,
        **losses,
    }


def grid(options: argparse.Namespace) -> Iterator[tuple[str, int, str]]:
    """Yield backbone, seed and start: all of a seed before those of the next."""
    for seed in options.seeds:
        for backbone in options.backbones:
            for start in options.starts:
                yield backbone, seed, start


def report(rows: pd.DataFrame) -> None:
    """Print accuracies and losses."""
    epochs = [column for column in rows if column.startswith("epoch")]
    for (backbone, start), part in rows.groupby(["backbone", "start"]):
        is_default = (rows.backbone == backbone) & (rows.start == "default")
        reference = rows[is_default].set_index("seed").accuracy
        difference = (part.accuracy - part.seed.map(reference)).mean()
        losses = " ".join(f"{loss:.2f}" for loss in part[epochs].mean().dropna())
        print(
            f"{backbone:18} {start:8} {len(part)}  {part.accuracy.mean():.3f} "
            f"({part.accuracy.min():.3f}) {difference:+.3f}  {losses}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[26, 27, 28], help="drawing seeds")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "mobilenet_v3_small"])
    parser.add_argument("--report", nargs="+", type=Path, help="compute nothing, read these files")
    cells.add_options(parser)
    options = parser.parse_args()
    if options.report:
        report(pd.concat(map(pd.read_csv, options.report)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cells.draw(folder, options.seeds, options)
        tasks = [(folder, *cell) for cell in grid(options)]
        print(f"{len(tasks)} networks, {options.device}", flush=True)
        report(cells.compute(compute, tasks, options))


if __name__ == "__main__":
    main()
