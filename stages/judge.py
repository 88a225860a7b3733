"""Judge the maps of the test images: are they faithful, and do they point at the object?"""

from functools import partial
from pathlib import Path

from pokecam.common import running
from pokecam.common.files import whole_folder, write_csv, write_json
from pokecam.common.params import read_params
from pokecam.data.packed import images, splits
from pokecam.judging import shuffled_labels, tables
from pokecam.judging.case import load_case
from pokecam.judging.measures import JudgeSettings
from pokecam.judging.redrawing import open_redrawing
from pokecam.networks import classifier
from pokecam.networks.device import pick_device
from pokecam.training.settings import Recipe, TrainSettings


def main(
    images_path: Path = Path("data/images"),
    split_path: Path = Path("data/split.csv"),
    lookalikes_path: Path = Path("data/lookalikes.json"),
    classifier_path: Path = Path("models/classifier.safetensors"),
    pretrained_path: Path = Path("models/pretrained.safetensors"),
    evaluation_path: Path = Path("data/evaluation"),
    cams_path: Path = Path("data/cams"),
    out: Path = Path("data/judgement"),
) -> None:
    settings = read_params(JudgeSettings)
    train_settings = read_params(TrainSettings)
    device = pick_device(train_settings.device)
    packed = images.load_packed(images_path)
    split = splits.read_split(split_path, packed.manifest)
    network = classifier.load_classifier(classifier_path).to(device)
    test = splits.subset_rows(split, "test")
    lookalikes = images.read_lookalikes(lookalikes_path)
    case = load_case(network, packed, test, lookalikes, evaluation_path, cams_path)
    train_on_shuffled_labels = partial(
        shuffled_labels.train,
        packed,
        splits.subset_rows(split, "train"),
        pretrained_path,
        train_settings,
        read_params(Recipe),
        device,
    )
    with open_redrawing(images_path, packed, device) as redrawing:
        judgement = tables.judgement_tables(case, settings, redrawing, train_on_shuffled_labels)
    with whole_folder(out) as folder:
        for name, table in judgement.items():
            write_csv(folder / f"{name}.csv", table)
        write_json(folder / "about.json", tables.about(case))


if __name__ == "__main__":
    running.run(main)
