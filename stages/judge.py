"""Judge the maps of the test pictures: are they faithful, do they point at the right thing?"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pokecam import classifier, device, images, judging, parts, running, splits, verdicts
from pokecam.files import whole_folder, write_csv, write_json
from pokecam.params import read

DRAWN = Path("drawn")


def main(
    images_path: Path = Path("data/images"),
    split_path: Path = Path("data/split.csv"),
    classifier_path: Path = Path("models/classifier.safetensors"),
    evaluation_path: Path = Path("data/evaluation"),
    cams_path: Path = Path("data/cams"),
    out: Path = Path("data/judgement"),
) -> None:
    settings = read(judging.JudgeSettings)
    packed = images.load(images_path)
    about = json.loads((cams_path / "meta.json").read_text(encoding="utf-8"))
    predictions = images.read_table(evaluation_path / "predictions.csv")
    network = classifier.load(classifier_path).to(device.pick(read(device.DeviceSettings).device))
    case = judging.Case(
        network,
        about["layer"],
        packed,
        splits.rows(images.read_table(split_path), "test"),
        pd.Index(packed.classes).get_indexer(predictions.predicted),
        {name: np.load(cams_path / f"{name}.npy", mmap_mode="r") for name in about["methods"]},
    )
    drawn = packed.scenes is not None
    redrawing = parts.Redrawing(DRAWN, network.image_size) if drawn else None
    scores = judging.score(case, settings, redrawing)
    with whole_folder(out) as folder:
        write_csv(folder / "scores.csv", verdicts.per_picture(case, scores))
        write_csv(folder / "measures.csv", verdicts.summary(case, scores, settings.seed))
        write_csv(folder / "tests.csv", verdicts.against_baselines(case, scores, settings.seed))
        if "parts" in settings.judge_measures and drawn:
            write_csv(folder / "parts.csv", scores.drops)
        if "lookalikes" in settings.judge_measures:
            pictures = judging.look_alikes(case, settings, redrawing)
            write_csv(folder / "lookalikes.csv", verdicts.over_pairs(pictures, settings.seed))
        if "background" in settings.judge_measures:
            pictures = judging.backgrounds(case)
            write_csv(folder / "background.csv", verdicts.by_condition(pictures, settings.seed))
        if "sanity" in settings.judge_measures:
            write_csv(folder / "sanity.csv", judging.after_randomisation(case, settings))
        write_json(folder / "about.json", verdicts.about(case))


if __name__ == "__main__":
    running.run(main)
