"""How few images may a class have, before it or the others suffer?

    python benchmarks/class_sizes.py --processes 2                   # hours on two cores
    python benchmarks/class_sizes.py --sizes 1 --seeds 26 --rules before now without
    python benchmarks/class_sizes.py --device cuda --processes 14 --out /tmp/class_sizes
    python benchmarks/class_sizes.py --report /tmp/class_sizes/cells.csv

Drawn images, the ten default classes with 36 training images each, but one class has fewer. Each
drawing seed has another small class: the one with the number of its last digit, from 0. The
validation set has 12 images of each class and the test set 60, of the small class, too. All else
are the parameters of params.yaml. The rules:

    before         class weights n / (C · n_c) in torch's loss, which multiplies the smoothed part
                   of every class by them (the project before November 2026)
    before, layer  the same, but only in the fit of the last layer, and `inverse` in the steps
    before, steps  the other way round
    inverse        the same weights, and the loss of `pokecam.training`
    now            the weights and the loss of `pokecam.training`
    none           all weights are 1
    without        a network of nine classes, trained without the small class

Prints for each size and rule, as means over the seeds: the accuracy on the test images of the other
nine classes (and its lowest value), the difference to `without` (and the lowest of a seed), the
lowest recall of these classes, how many of their 540 images are misclassified as the small class,
and recall and precision of the small class. Precision is for 60 images of each class.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from support import cells, images
from support.cells import TRAIN
from torch import Tensor

from pokecam.networks import classifier
from pokecam.networks.classifier import Classifier
from pokecam.training import loss, schedule, trainer
from pokecam.training.fit import fit

WITHOUT = "without"


def torch_cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor, *, label_smoothing: float, reduction: str
) -> Tensor:
    return F.cross_entropy(
        logits, labels, class_weights, reduction=reduction, label_smoothing=label_smoothing
    )


def torch_for(reduction_of_torch: str) -> Callable[..., Tensor]:
    """Return the loss that is torch's in the fit of the last layer ("mean") or in the steps
    ("sum"), and the project's otherwise."""

    def function(*args: Tensor, reduction: str, **settings: float) -> Tensor:
        is_torch = reduction == reduction_of_torch
        chosen_loss = torch_cross_entropy if is_torch else loss.weighted_cross_entropy
        return chosen_loss(*args, reduction=reduction, **settings)

    return function


def inverse(labels: np.ndarray, n_classes: int) -> Tensor:
    counts = np.bincount(labels, minlength=n_classes)
    return torch.from_numpy(len(labels) / (n_classes * counts)).float()


def ones(labels: np.ndarray, n_classes: int) -> Tensor:
    return torch.ones(n_classes)


@dataclass(frozen=True)
class Rule:
    """How the images of a class are weighted: the weights of the classes, and the loss."""

    class_weights: Callable[[np.ndarray, int], Tensor]
    loss: Callable[..., Tensor]


RULES = {
    "before": Rule(inverse, torch_cross_entropy),
    "before, layer": Rule(inverse, torch_for("mean")),
    "before, steps": Rule(inverse, torch_for("sum")),
    "inverse": Rule(inverse, loss.weighted_cross_entropy),
    "now": Rule(schedule.class_weights, loss.weighted_cross_entropy),
    "none": Rule(ones, loss.weighted_cross_entropy),
    WITHOUT: Rule(ones, loss.weighted_cross_entropy),
}


def compute(
    folder: Path, backbone: str, seed: int, size: int, rule: str, options: argparse.Namespace
) -> cells.Row:
    """Train one network, and measure it on the test images."""
    pixels = cells.load(folder, seed)
    small, classes = seed % 10, list(range(len(pixels)))
    is_of_subset = cells.subsets(pixels)
    is_of_subset["train"][small, size:] = False
    if rule == WITHOUT:
        classes.remove(small)
        is_of_subset["train"][small] = is_of_subset["val"][small] = False
    started = time.perf_counter()
    network = train(pixels, is_of_subset, backbone, classes, seed, rule, options)
    seconds = time.perf_counter() - started
    test = cells.labelled(pixels, is_of_subset["test"])
    logits = classifier.predict(network, test.pixels, test.rows)
    predicted = np.array(classes)[logits.argmax(dim=1).numpy()]
    is_small, is_correct = test.labels == small, predicted == test.labels
    recalls = [is_correct[test.labels == label].mean() for label in range(len(pixels))]
    n_predicted = (predicted == small).sum()
    return {
        "backbone": backbone,
        "seed": seed,
        "small": images.default_classes()[small],
        "size": size,
        "rule": rule,
        "accuracy": is_correct[~is_small].mean(),
        "lowest": min(recall for label, recall in enumerate(recalls) if label != small),
        "as_small": (predicted == small)[~is_small].sum(),
        "recall": recalls[small],
        "precision": is_correct[is_small].sum() / n_predicted if n_predicted else np.nan,
        "seconds": round(seconds, 1),
    }


def train(
    pixels: np.ndarray,
    is_of_subset: dict[str, np.ndarray],
    backbone: str,
    classes: list[int],
    seed: int,
    rule: str,
    options: argparse.Namespace,
) -> Classifier:
    """Train a network of some classes by one rule, otherwise as params.yaml says."""
    names = [images.default_classes()[label] for label in classes]
    network = cells.start(backbone, names, seed, options)
    subsets = [cells.labelled(pixels, is_of_subset[name]) for name in ("train", "val")]
    train_set, val_set = (
        replace(subset, labels=np.searchsorted(classes, subset.labels)) for subset in subsets
    )
    with (
        mock.patch.object(trainer, "class_weights", RULES[rule].class_weights),
        mock.patch.object(trainer, "weighted_cross_entropy", RULES[rule].loss),
    ):
        fit(network, train_set, val_set, cells.recipe(seed, options), pretrained=True)
    return network


def grid(options: argparse.Namespace) -> Iterator[tuple[str, int, int, str]]:
    """Yield backbone, seed, size and rule: all of a seed before those of the next."""
    for seed in options.seeds:
        for backbone in options.backbones:
            if WITHOUT in options.rules:
                yield backbone, seed, 0, WITHOUT
            for rule in options.rules:
                for size in options.sizes:
                    # With as many images as the other classes have, all weights are 1.
                    if rule != WITHOUT and (size != TRAIN or rule == "now"):
                        yield backbone, seed, size, rule


def report(rows: pd.DataFrame) -> None:
    """Print the table of each backbone."""
    for backbone, table in rows.groupby("backbone"):
        reference = table[table.rule == WITHOUT].set_index("seed").accuracy
        table = table.assign(difference=table.accuracy - table.seed.map(reference))
        print(
            f"\n{backbone}\n{'':18}  n  accuracy (min)   − without (min)    lowest  as small"
            "  recall (min)   precision"
        )
        order = [rule for rule in RULES if rule in set(table.rule)]
        table = table.assign(rule=pd.Categorical(table.rule, order))
        for (size, rule), part in table.groupby(["size", "rule"], observed=True):
            print(
                f"{size:4} {rule:13} {len(part):2}  {part.accuracy.mean():.3f} "
                f"({part.accuracy.min():.3f})   {part.difference.mean():+.3f} "
                f"({part.difference.min():+.3f})   {part.lowest.mean():.3f} "
                f"{part.as_small.mean():8.1f}   {part.recall.mean():.3f} "
                f"({part.recall.min():.3f})  {part.precision.mean():.3f}"
            )
        print(f"{table.seconds.median():.0f} s for a network (median)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2, 4, 8, 16, TRAIN])
    parser.add_argument("--seeds", nargs="+", type=int, default=[26, 27, 28], help="drawing seeds")
    rules = [WITHOUT, "now", "before", "none"]
    parser.add_argument("--rules", nargs="+", choices=RULES, default=rules, metavar="RULE")
    parser.add_argument("--backbones", nargs="+", default=["mobilenet_v3_small"])
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
        print(f"{len(tasks)} networks, {options.device}, torch {torch.__version__}", flush=True)
        report(cells.compute(compute, tasks, options))


if __name__ == "__main__":
    main()
