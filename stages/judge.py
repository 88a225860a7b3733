"""Judge the maps of the test pictures: are they faithful, do they point at the right thing?"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pokecam.common import running
from pokecam.common.files import whole_folder, write_csv, write_json
from pokecam.common.params import read
from pokecam.data.packed import images, splits
from pokecam.judging import parts, shuffled_labels, tables
from pokecam.judging.case import Case, speaking_for
from pokecam.judging.scores import JudgeSettings
from pokecam.networks import classifier, device
from pokecam.training.fit import Recipe, TrainSettings

DRAWN = Path("drawn")


def main(
    images_path: Path = Path("data/images"),
    split_path: Path = Path("data/split.csv"),
    classifier_path: Path = Path("models/classifier.safetensors"),
    pretrained_path: Path = Path("models/pretrained.safetensors"),
    evaluation_path: Path = Path("data/evaluation"),
    cams_path: Path = Path("data/cams"),
    out: Path = Path("data/judgement"),
) -> None:
    settings = read(JudgeSettings)
    packed = images.load(images_path)
    about = json.loads((cams_path / "meta.json").read_text(encoding="utf-8"))
    predictions = images.read_table(evaluation_path / "predictions.csv")
    split = splits.read(split_path, packed.manifest)
    training = read(TrainSettings)
    where = device.pick(training.device)
    network = classifier.load(classifier_path).to(where)
    maps = {name: np.load(cams_path / f"{name}.npy", mmap_mode="r") for name in about["methods"]}
    case = Case(
        network,
        about["layer"],
        packed,
        splits.rows(split, "test"),
        pd.Index(packed.classes).get_indexer(predictions.predicted),
        speaking_for(maps),
    )
    drawn = packed.scenes is not None
    redrawing = parts.Redrawing(DRAWN, network.image_size) if drawn else None
    taught = splits.rows(split, "train"), pretrained_path, training, read(Recipe), where
    retrained = partial(shuffled_labels.train, packed, *taught)
    judged = tables.tables(case, settings, redrawing, retrained)
    with whole_folder(out) as folder:
        for name, table in judged.items():
            write_csv(folder / f"{name}.csv", table)
        write_json(folder / "about.json", tables.about(case))


if __name__ == "__main__":
    running.run(main)
