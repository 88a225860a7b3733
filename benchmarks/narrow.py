"""What helps a class whose training images are all large and plain? An answer on drawn images.

    python benchmarks/narrow.py --seeds 1 2 3 --setting zoom_out=0.3
    python benchmarks/narrow.py --backbone mobilenet_v2 --weights ../shared/real/weights/….pth

Three of the ten default classes are narrow, one of each of three look-alike pairs. They have only
35 images, in which the creature fills the image, upright, in true colours, on a plain background.
The other classes have 47 images, as varied as the drawn source makes them. Trains with the
committed parameters but for `--setting`. Prints for each seed the accuracy on varied images: 100 of
each narrow class, those of them in which the creature is smaller than 0.6 of the side, and 40 of
each other class; and how many of the others are misclassified as a narrow class.
"""

import argparse

import numpy as np
import torch
import yaml
from support import PROJECT
from support.images import square
from support.settings import add_setting, changed_recipe

from pokecam.common.params import read_params
from pokecam.data.drawn import nuisances, render, scene, species
from pokecam.data.sources.drawn import image_seed
from pokecam.networks import pretrained
from pokecam.networks.classifier import predict
from pokecam.training.fit import fit, start
from pokecam.training.settings import TrainSettings
from pokecam.training.trainer import LabelledImages

DRAW_SEED = 77
NARROW = ("Bulbasaur", "Squirtle", "Pikachu")
PLAIN = {
    "backgrounds": {"plain": 1.0},
    "distractors": {"none": 1.0},
    "covers": {"none": 1.0},
    "styles": {"flat": 0.3, "outlined": 0.5, "shaded": 0.2},
    **{"size": (0.8, 1.0), "cut": 0.0, "turn_deg": 5.0, "hue_deg": 4.0},
    **{"saturation": (0.95, 1.05), "brightness": (0.95, 1.05)},
    **{"warmth": 0.0, "tint": 0.0, "light": 0.0},
}
SMALL = 0.6  # of the image's side
# train, val, test images of a class
COUNTS = {True: (26, 9, 100), False: (35, 12, 40)}


def draw(size_px: int, classes: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels (N, S, S, 3), and labels, subsets (0, 1, 2) and sizes of the creature (N,)."""
    varied = nuisances.read_settings(PROJECT / "datasets" / "drawn.yaml")
    plain = varied.model_copy(update=PLAIN)
    catalogue = species.catalogue()
    pixels, rows = [], []
    for label, name in enumerate(classes):
        narrow = name in NARROW
        subsets = np.repeat((0, 1, 2), COUNTS[narrow])
        for index, subset in enumerate(subsets):
            settings = plain if narrow and subset < 2 else varied
            sampled = scene.sample(catalogue[name], image_seed(DRAW_SEED, name, index), settings)
            jpeg = render.finish(render.image(sampled, settings.image_px), sampled)
            pixels.append(square(jpeg, size_px))
            rows.append((label, subset, sampled.nuisances.size))
    labels, subsets, sizes = np.array(rows).T
    return np.stack(pixels), labels.astype(int), subsets.astype(int), sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    add_setting(parser)
    parser.add_argument("--backbone", default="mobilenet_v3_small")
    parser.add_argument("--weights", default="drawn")
    options = parser.parse_args()
    params = PROJECT / "params.yaml"
    changes = dict(options.setting)
    settings = read_params(TrainSettings, params).model_copy(update={"backbone": options.backbone})
    recipe = changed_recipe(parser, changes)
    values = yaml.safe_load(params.read_text())
    classes, size_px = values["classes"], values["image_size"]
    state = pretrained.fetch_weights(options.weights, options.backbone)
    pixels, labels, subsets, sizes = draw(size_px, classes)
    test = np.flatnonzero(subsets == 2)
    narrow = np.isin(labels[test], [classes.index(name) for name in NARROW])
    small = narrow & (sizes[test] < SMALL)
    counts = f"narrow n = {narrow.sum()}, small {small.sum()}, others {(~narrow).sum()}"
    print(f"{options.backbone} {changes}: {counts}")
    for seed in options.seeds:
        model = start(settings, classes, size_px, state, seed)
        train, val = (
            LabelledImages(pixels, rows := np.flatnonzero(subsets == subset), labels[rows])
            for subset in (0, 1)
        )
        seeded = recipe.model_copy(update={"seed": seed})
        fit(model, train, val, seeded, pretrained=True)
        with torch.no_grad():
            predicted = predict(model, pixels, test).argmax(dim=1).numpy()
        correct = predicted == labels[test]
        as_narrow = np.isin(predicted, np.unique(labels[test][narrow])) & ~narrow
        print(
            f"  seed {seed}: narrow {correct[narrow].mean():.3f}, "
            f"small {correct[small].mean():.3f}, others {correct[~narrow].mean():.3f}, "
            f"{as_narrow.sum()} of them misclassified as a narrow class",
            flush=True,
        )


if __name__ == "__main__":
    main()
