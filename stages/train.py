"""Fine-tune the network."""

from pathlib import Path

import pandas as pd

from pokecam.cam import methods
from pokecam.common.files import write_csv
from pokecam.common.params import read
from pokecam.data.packed import images, splits
from pokecam.networks import classifier, distributed, layers, pretrained
from pokecam.training import checkpoints
from pokecam.training.fit import Pictures, Recipe, TrainSettings, fit, start


def main(
    images_path: Path = Path("data/images"),
    split_path: Path = Path("data/split.csv"),
    pretrained_path: Path = Path("models/pretrained.safetensors"),
    classifier_path: Path = Path("models/classifier.safetensors"),
    history_path: Path = Path("models/history.csv"),
    checkpoints_path: Path = Path("checkpoints"),
) -> None:
    settings, recipe, wanted = read(TrainSettings), read(Recipe), read(methods.CamSettings)
    packed = images.load(images_path)
    split = splits.read(split_path, packed.manifest)
    labels = pd.Index(packed.classes).get_indexer(packed.manifest.label)
    state, origin = pretrained.read(pretrained_path, settings.backbone)

    model = start(settings, packed.classes, packed.pixels.shape[1], state, recipe.seed)
    # Maps that the network does not allow are refused before it is trained, not after.
    methods.check(wanted.cam_methods, layers.at(model, wanted.cam_layer))
    team = distributed.team(settings.device)
    model.to(team.device)
    inputs = [*sorted(images_path.iterdir()), split_path, pretrained_path]
    checkpoint = checkpoints.of([settings, recipe], inputs, team, checkpoints_path)
    parts = (
        Pictures(packed.pixels, rows := splits.rows(split, part), labels[rows])
        for part in ("train", "val")
    )
    history = fit(
        model,
        *parts,
        **recipe.model_dump(),
        pretrained=bool(state),
        team=team,
        checkpoint=checkpoint,
    )
    if team.leads:
        classifier.save(model, classifier_path, weights=origin)
        write_csv(history_path, history)
        checkpoint.remove()


if __name__ == "__main__":
    distributed.run(main)
