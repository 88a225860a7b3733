"""Compute the raw class activation maps of every test image for every class."""

from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from pokecam.cam import store
from pokecam.cam.methods import METHODS, CamSettings
from pokecam.common.files import whole_folder, write_csv, write_json
from pokecam.common.params import read_params
from pokecam.data.packed import images, splits
from pokecam.networks import classifier, distributed
from pokecam.networks.settings import DeviceSettings


def main(
    images_path: Path = Path("data/images"),
    split_path: Path = Path("data/split.csv"),
    lookalikes_path: Path = Path("data/lookalikes.json"),
    classifier_path: Path = Path("models/classifier.safetensors"),
    out: Path = Path("data/cams"),
) -> None:
    settings = read_params(CamSettings)
    methods = settings.cam_methods
    packed = images.load_packed(images_path)
    test = splits.subset_rows(splits.read_split(split_path, packed.manifest), "test")
    team = distributed.join_team(read_params(DeviceSettings).device)
    model = classifier.load_classifier(classifier_path).to(team.device)

    manifest = packed.manifest.iloc[test]
    index = pd.DataFrame({"row": range(len(test)), "file": manifest.file, "label": manifest.label})
    about = {
        "methods": {name: METHODS[name].title for name in methods},
        "classes": packed.classes,
        "layer": settings.cam_layer or model.cam_layer,
        "backbone": model.backbone,
        "image_size": model.image_size,
    }
    groups = images.read_lookalikes(lookalikes_path)
    open_folder = whole_folder if team.is_main else nullcontext
    with open_folder(out) as folder:
        store.write_maps(
            folder,
            model,
            packed.pixels,
            test,
            methods,
            layer=settings.cam_layer,
            lookalikes=[[packed.classes.index(name) for name in group] for group in groups],
            team=team,
        )
        if team.is_main:
            write_csv(folder / "index.csv", index)
            write_json(folder / "meta.json", about)


if __name__ == "__main__":
    distributed.run(main)
