"""Predict the classes of the test images, and measure how good the predictions are."""

from pathlib import Path

import pandas as pd

from pokecam.common.files import whole_folder, write_csv, write_json
from pokecam.common.params import read_params
from pokecam.data.packed import images, splits
from pokecam.judging.predictions import evaluate
from pokecam.networks import classifier, distributed, safetensors_file
from pokecam.networks.settings import DeviceSettings


def main(
    images_path: Path = Path("data/images"),
    split_path: Path = Path("data/split.csv"),
    classifier_path: Path = Path("models/classifier.safetensors"),
    out: Path = Path("data/evaluation"),
) -> None:
    settings = read_params(DeviceSettings)
    packed = images.load_packed(images_path)
    test = splits.subset_rows(splits.read_split(split_path, packed.manifest), "test")
    manifest = packed.manifest.iloc[test]

    team = distributed.join_team(settings.device)
    model = classifier.load_classifier(classifier_path).to(team.device)
    logits = classifier.predict(model, packed.pixels, test, team)
    if not team.is_main:
        return
    evaluation = evaluate(
        manifest.file.to_list(),
        pd.Index(packed.classes).get_indexer(manifest.label),
        logits.double().softmax(dim=1).numpy(),
        packed.classes,
    )
    with whole_folder(out) as folder:
        for name in ("predictions", "per_class", "confusion", "calibration"):
            write_csv(folder / f"{name}.csv", getattr(evaluation, name))
        weights = safetensors_file.read_metadata(classifier_path)["weights"]
        write_json(folder / "metrics.json", evaluation.metrics | {"weights": weights})


if __name__ == "__main__":
    distributed.run(main)
