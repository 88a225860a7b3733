"""Compute the raw class activation maps of every test picture, for every class."""

from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from pokecam.cam import store
from pokecam.cam.methods import METHODS, CamSettings
from pokecam.common.files import whole_folder, write_csv, write_json
from pokecam.common.params import read
from pokecam.data.packed import images, splits
from pokecam.networks import classifier, device, distributed


def main(
    images_path: Path = Path("data/images"),
    split_path: Path = Path("data/split.csv"),
    classifier_path: Path = Path("models/classifier.safetensors"),
    out: Path = Path("data/cams"),
) -> None:
    settings = read(CamSettings)
    methods = settings.cam_methods
    packed = images.load(images_path)
    test = splits.rows(splits.read(split_path, packed.manifest), "test")
    team = distributed.team(read(device.DeviceSettings).device)
    model = classifier.load(classifier_path).to(team.device)

    manifest = packed.manifest.iloc[test]
    index = pd.DataFrame({"row": range(len(test)), "file": manifest.file, "label": manifest.label})
    about = {
        "methods": {name: METHODS[name].title for name in methods},
        "classes": packed.classes,
        "layer": settings.cam_layer or model.cam_layer,
        "backbone": model.backbone,
        "image_size": model.image_size,
    }
    alike = [[packed.classes.index(name) for name in group] for group in packed.lookalikes]
    place = whole_folder if team.leads else nullcontext
    with place(out) as folder:
        store.write(
            folder,
            model,
            packed.pixels,
            test,
            methods,
            layer=settings.cam_layer,
            alike=alike,
            team=team,
        )
        if team.leads:
            write_csv(folder / "index.csv", index)
            write_json(folder / "meta.json", about)


if __name__ == "__main__":
    distributed.run(main)
