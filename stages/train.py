"""Fine-tune the network; keep the epoch that is best on the validation pictures."""

from pathlib import Path

import pandas as pd
import torch

from pokecam import classifier, device, images, pretrained, splits
from pokecam.cam import layers, methods
from pokecam.errors import run
from pokecam.files import write_csv
from pokecam.params import read
from pokecam.training import Pictures, TrainSettings, fit


def main(
    images_path: Path = Path("data/images"),
    split_path: Path = Path("data/split.csv"),
    pretrained_path: Path = Path("models/pretrained.safetensors"),
    classifier_path: Path = Path("models/classifier.safetensors"),
    history_path: Path = Path("models/history.csv"),
) -> None:
    settings = read(TrainSettings)
    packed = images.load(images_path)
    split = images.read_table(split_path)
    labels = pd.Index(packed.classes).get_indexer(packed.manifest.label)
    state, origin = pretrained.read(pretrained_path, settings.backbone)

    torch.manual_seed(settings.seed)
    image_size = packed.pixels.shape[1]
    model = classifier.build(
        settings.backbone, settings.head, packed.classes, image_size, settings.feature_stride
    )
    # Maps that the network does not allow are refused before it is trained, not after.
    wanted = read(methods.CamSettings)
    methods.check(wanted.cam_methods, layers.at(model, wanted.cam_layer))
    pretrained.apply(state, model)
    model.to(device.pick(settings.device))
    parts = (
        Pictures(packed.pixels, rows := splits.rows(split, part), labels[rows])
        for part in ("train", "val")
    )
    history = fit(
        model,
        *parts,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        label_smoothing=settings.label_smoothing,
        seed=settings.seed,
        fit_head=bool(state),
    )
    classifier.save(model, classifier_path, weights=origin)
    write_csv(history_path, history)


if __name__ == "__main__":
    run(main)
