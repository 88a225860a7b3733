"""Fine-tune the network on the training set."""

from pathlib import Path

import pandas as pd

from pokecam.cam.fitting import check_methods
from pokecam.cam.methods import CamSettings
from pokecam.common.files import files_below, write_csv
from pokecam.common.params import read_params
from pokecam.data.packed import images, splits
from pokecam.networks import classifier, distributed, layers, pretrained
from pokecam.training import checkpoints
from pokecam.training.distances import measure_distances
from pokecam.training.fit import fit, start
from pokecam.training.settings import Recipe, TrainSettings
from pokecam.training.trainer import LabelledImages


def main(
    images_path: Path = Path("data/images"),
    split_path: Path = Path("data/split.csv"),
    pretrained_path: Path = Path("models/pretrained.safetensors"),
    classifier_path: Path = Path("models/classifier.safetensors"),
    history_path: Path = Path("models/history.csv"),
    checkpoints_path: Path = Path("checkpoints"),
) -> None:
    settings, recipe = read_params(TrainSettings), read_params(Recipe)
    maps = read_params(CamSettings)
    packed = images.load_packed(images_path)
    split = splits.read_split(split_path, packed.manifest)
    labels = pd.Index(packed.classes).get_indexer(packed.manifest.label)
    state, origin = pretrained.read_weights(pretrained_path, settings.backbone)

    model = start(settings, packed.classes, packed.pixels.shape[1], state, recipe.seed)
    # Methods that do not fit the network are an error before it is trained, not after.
    at_layer = layers.cut_at(model, maps.cam_layer)
    check_methods(maps.cam_methods, at_layer, parameter="cam_methods")
    team = distributed.join_team(settings.device)
    model.to(team.device)
    files = [*files_below(images_path), split_path, pretrained_path]
    checkpoint = checkpoints.checkpoint_of([settings, recipe], files, team, checkpoints_path)
    train, val = (
        LabelledImages(packed.pixels, rows := splits.subset_rows(split, subset), labels[rows])
        for subset in ("train", "val")
    )
    history = fit(
        model, train, val, recipe, pretrained=bool(state), team=team, checkpoint=checkpoint
    )
    model.distances = measure_distances(model, train, val, team)
    if team.is_main:
        classifier.save_classifier(model, classifier_path, weights=origin)
        write_csv(history_path, history)
        checkpoint.remove()


if __name__ == "__main__":
    distributed.run(main)
