"""How well does a distance tell images of classes that the network has not learnt?

    python benchmarks/unknown.py --seeds 1 2 3               # the table of docs/new-images.md
    python benchmarks/unknown.py --seeds 1 2 3 --backbone resnet18
    python benchmarks/unknown.py --choose --seeds 101 102    # on which `cosine` was chosen
    python benchmarks/unknown.py --features FOLDER                   # trains only what is not in it

Trains the committed network on ten species of the drawn catalogue: 36 images of each for training
and 12 for validation. Then it compares 12 other images of each with 30 of each of the remaining
eight species. By default the ten are those of params.yaml. With --choose the eight unknown species
are drawn from those ten, other ones for every seed, so no species is unknown in both tables.

For each seed and score it prints the AUROC: how often an image of an unknown species has a higher
score than one of a known species. Then, at the threshold that 95 % of the validation images do not
exceed, which share of the known and of the unknown images exceeds it. The columns `sure …` are of
those images alone whose highest probability is above 0.8: a name that is wrong and certain.

    cosine       1 − cosine to the nearest class mean: what `explain` uses
    centred      likewise, after subtracting the mean of all classes
    euclidean    distance to the nearest class mean
    mahalanobis  likewise, with the shared covariance, by Ledoit and Wolf (Lee et al. 2018)
    knn          1 − cosine to the fifth nearest training image (Sun et al. 2022)
    energy       −log Σ exp(logit) (Liu et al. 2020)
    max_logit    −highest logit
    probability  −highest probability
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from support import PROJECT
from support.images import square
from support.settings import add_setting, changed_recipe

from pokecam.common.params import read_params
from pokecam.data.drawn import nuisances, render, scene, species
from pokecam.data.sources.drawn import image_seed
from pokecam.networks import pretrained
from pokecam.networks.classifier import in_batches, predict
from pokecam.training.fit import fit, start
from pokecam.training.settings import Recipe, TrainSettings
from pokecam.training.trainer import LabelledImages

COUNTS = (36, 12, 12)  # images of a known class: training, validation, test
N_UNKNOWN = 30  # images of an unknown class
NEIGHBOUR = 5
THRESHOLD = 0.95  # fraction of the validation images below it
SURE = 0.8  # probability

Arrays = dict[str, np.ndarray]


def divide(seed: int, default: list[str], choose: bool) -> tuple[list[str], list[str]]:
    """Return the known and the unknown species."""
    other_species = [name for name in species.catalogue() if name not in default]
    if not choose:
        return default, other_species
    unknown = np.random.default_rng(seed).permutation(default)[: len(other_species)].tolist()
    return [name for name in species.catalogue() if name not in unknown], unknown


def draw(classes: list[str], draw_seed: int, per_class: int, size_px: int) -> np.ndarray:
    """Return images (len(classes) · per_class, S, S, 3), as the drawn source draws them."""
    settings = nuisances.read_settings(PROJECT / "datasets" / "drawn.yaml")
    catalogue = species.catalogue()
    pixels = []
    for name in classes:
        for index in range(per_class):
            sampled = scene.sample(catalogue[name], image_seed(draw_seed, name, index), settings)
            jpeg = render.finish(render.image(sampled, settings.image_px), sampled)
            pixels.append(square(jpeg, size_px))
    return np.stack(pixels)


@torch.no_grad()
def features(
    seed: int, known_classes: list[str], unknown: list[str], settings: TrainSettings, recipe: Recipe
) -> Arrays:
    """Train a network. Return the inputs of its last layer and its logits for all images."""
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    size_px = values["image_size"]
    pixels = draw(known_classes, seed, sum(COUNTS), size_px)
    labels = np.repeat(np.arange(len(known_classes)), sum(COUNTS))
    subsets = np.tile(np.repeat(("train", "val", "test"), COUNTS), len(known_classes))
    state = pretrained.fetch_weights(values["weights"], settings.backbone)
    model = start(settings, known_classes, size_px, state, seed)
    train, val = (
        LabelledImages(pixels, rows := np.flatnonzero(subsets == subset), labels[rows])
        for subset in ("train", "val")
    )
    with torch.enable_grad():
        fit(model, train, val, recipe.model_copy(update={"seed": seed}), pretrained=True)
    unknown_pixels = draw(unknown, seed, N_UNKNOWN, size_px)
    arrays = {"labels": labels[train.rows], "test_labels": labels[subsets == "test"]}
    for subset in ("train", "val", "test", "unknown"):
        images = unknown_pixels if subset == "unknown" else pixels[subsets == subset]
        rows = np.arange(len(images))
        arrays[f"{subset}_logits"] = predict(model, images, rows).numpy()
        batches = in_batches(model, images, rows, lambda x, _: model.last_inputs(x))
        arrays[subset] = torch.cat([batch for _, batch in batches]).numpy()
    return arrays


def scores(arrays: Arrays, subset: str) -> Arrays:
    """Return score → (N,) of the images of a subset; higher means less like the known classes."""
    x, logits = arrays[subset], arrays[f"{subset}_logits"]
    train, labels = arrays["train"], arrays["labels"]
    means = np.stack([train[labels == label].mean(axis=0) for label in np.unique(labels)])
    covariance = LedoitWolf(assume_centered=True).fit(train - means[labels])
    to_means = x[:, None] - means
    whitened = np.einsum("ncj,jk,nck->nc", to_means, covariance.precision_, to_means)
    return {
        "cosine": 1 - _cosines(x, means).max(axis=1),
        "centred": 1 - _cosines(x - means.mean(axis=0), means - means.mean(axis=0)).max(axis=1),
        "euclidean": np.linalg.norm(to_means, axis=2).min(axis=1),
        "mahalanobis": whitened.min(axis=1),
        "knn": 1 - np.sort(_cosines(x, train), axis=1)[:, -NEIGHBOUR],
        "energy": -logsumexp(logits, axis=1),
        "max_logit": -logits.max(axis=1),
        "probability": -softmax(logits, axis=1).max(axis=1),
    }


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (len(a), len(b))."""
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    return a @ b.T


def figures(arrays: Arrays) -> pd.DataFrame:
    """Return a row for each score: auroc, and the shares of known and unknown images over the
    threshold; the same of the images that the network is sure of."""
    val, test, unknown = (scores(arrays, subset) for subset in ("val", "test", "unknown"))
    is_unknown = np.repeat((False, True), (len(arrays["test"]), len(arrays["unknown"])))
    is_sure = -np.concatenate([test["probability"], unknown["probability"]]) > SURE
    rows = {}
    for name, of_known in test.items():
        values = np.concatenate([of_known, unknown[name]])
        rows[name] = {}
        for prefix, selected in (("", np.full(len(values), True)), ("sure ", is_sure)):
            exceeds = values[selected] > np.quantile(val[name], THRESHOLD)
            truth = is_unknown[selected]
            rows[name] |= {
                f"{prefix}auroc": roc_auc_score(truth, values[selected]),
                f"{prefix}known": exceeds[~truth].mean(),
                f"{prefix}unknown": exceeds[truth].mean(),
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--choose", action="store_true", help="other unknown species")
    parser.add_argument("--backbone", default="mobilenet_v3_small")
    parser.add_argument("--head", default="gap", choices=("gap", "native"))
    parser.add_argument("--features", type=Path, help="folder where features are kept")
    add_setting(parser)
    options = parser.parse_args()
    params = PROJECT / "params.yaml"
    settings = read_params(TrainSettings, params).model_copy(
        update={"backbone": options.backbone, "head": options.head}
    )
    recipe = changed_recipe(parser, dict(options.setting))
    default = yaml.safe_load(params.read_text())["classes"]
    tables = []
    for seed in options.seeds:
        known_classes, unknown = divide(seed, default, options.choose)
        name = (
            f"{options.backbone}-{options.head}-{'choose' if options.choose else 'report'}-{seed}"
        )
        path = options.features / f"{name}.npz" if options.features else None
        if path is not None and path.exists():
            arrays = dict(np.load(path))
        else:
            arrays = features(seed, known_classes, unknown, settings, recipe)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(path, **arrays)
        predicted = arrays["test_logits"].argmax(axis=1)
        table = figures(arrays)
        print(
            f"seed {seed}, unknown: {', '.join(unknown)}; accuracy "
            f"{(predicted == arrays['test_labels']).mean():.3f}, n = {len(predicted)} known, "
            f"{len(arrays['unknown'])} unknown\n{table.round(3)}\n",
            flush=True,
        )
        tables.append(table)
    print(f"{options.backbone}, head {options.head}, mean and range over seeds")
    columns = pd.concat(tables, keys=options.seeds).groupby(level=1, sort=False)
    for score, rows in columns:
        print(
            f"{score:12}"
            + "  ".join(
                f"{column} {values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"
                for column, values in rows.items()
            )
        )


if __name__ == "__main__":
    main()
