"""Does a network that learnt from whole images find the object, in real images with boxes?

    python benchmarks/boxes.py --data drawn --setting image_size=320 feature_stride=16
    python benchmarks/boxes.py --setting image_size=320 feature_stride=16 --seeds 1 2 3

Fine-tunes mobilenet_v2 from ../shared/real/weights with the stages and the committed parameters,
and judges every method's maps of the images' own class, where the object takes less than half
of the image: MaxBoxAccV2, pointing game and energy inside, with 95 % intervals over images.

    drawn  the default images, the test part: where method and setting are to be chosen
    real   trained on ../shared/real/pokemon10; judged on the Bulbasaurs of ../shared/real/boxes
           that are no near twins of an image trained on. Also, how many of these are named right,
           and how many test images of other classes are taken for a Bulbasaur

Both with a split seed and a seed of training for every one of `--seeds`.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import judge
import numpy as np
import pandas as pd
import yaml
from drawn import run, workplace
from figures import told, wide
from images import IMAGENET, REAL
from settings import add_setting

from pokecam.data.packed import csv_tables, splits
from pokecam.data.sources import folder, raw_zip
from pokecam.judging import scores, tables
from pokecam.judging.case import Case
from pokecam.judging.significance import interval

METHODS = ["cam", "refined_cam", "finer_cam", "layer_cam", "grad_cam_plus_plus"]
MEASURES = ["max_box_acc_v2", "pointing", "energy"]
LABEL = "Bulbasaur"  # of all boxes
MOST = 0.5  # of the image that the object takes


def pokemon10_and_boxes() -> Iterator[tuple[str, bytes]]:
    """The members of raw.zip: both sets, boxes for the second, whose files have a name of their
    own."""
    yield from folder.members(REAL / "pokemon10")
    boxes = pd.read_csv(REAL / "boxes" / "boxes.csv")
    names = "box-" + boxes.image
    for name, image in zip(names, boxes.image, strict=True):
        yield f"images/{LABEL}/{name}", (REAL / "boxes" / "images" / image).read_bytes()
    yield "boxes.csv", boxes.assign(image=f"{LABEL}/" + names).to_csv(index=False).encode()


def divided(alone: Path, both: Path) -> None:
    """Divide `both` as pokemon10 alone is divided; images with boxes test, unless they have a
    near twin that trains or validates."""
    parts = pd.read_csv(alone / "data/split.csv").set_index("file").subset
    manifest = csv_tables.read_table(both / "data/images/manifest.csv")
    manifest["subset"] = manifest.file.map(parts)
    seen = set(manifest[manifest.subset.isin(["train", "val"])].group)
    boxed = manifest.subset.isna()
    manifest.loc[boxed, "subset"] = np.where(
        manifest[boxed].group.isin(seen), splits.LEFT_OUT, "test"
    )
    manifest[["file", "label", "subset"]].to_csv(both / "data/split.csv", index=False)


def prepared(where: Path, data: str, seed: int, setting: dict) -> Path:
    """A folder in which the stages up to `cam` have run."""
    asked = {
        **{"backbone": "mobilenet_v2", "weights": str(IMAGENET), "cam_methods": METHODS},
        **{"seed": seed, "split_seed": seed},
        **setting,
    }
    if data == "drawn":
        place = workplace(where, **asked)
        run(place, "download", "select", "split")
    else:
        alone = workplace(where.with_name(f"{where.name}-alone"), **asked)
        raw_zip.write_raw_zip(folder.members(REAL / "pokemon10"), alone / "data/raw.zip")
        run(alone, "select", "split")
        place = workplace(where, **asked)
        raw_zip.write_raw_zip(pokemon10_and_boxes(), place / "data/raw.zip")
        run(place, "select")
        divided(alone, place)
    run(place, "weights", "train", "evaluate", "cam")
    return place


def loaded(place: Path) -> tuple[Case, pd.DataFrame]:
    """The test images with a small object, to be judged by the maps of their own class, as
    MaxBoxAccV2 is defined; and what the network said of all test images, with `small`."""
    said = csv_tables.read_table(place / "data/evaluation/predictions.csv")
    names = yaml.safe_load((place / "params.yaml").read_text())["cam_methods"]
    whole = judge.loaded(place, names)
    manifest = whole.packed.manifest.iloc[whole.rows].reset_index(drop=True)
    boxes = whole.packed.boxes.groupby("image").first()
    area = (boxes.xmax - boxes.xmin) * (boxes.ymax - boxes.ymin)
    share = manifest.file.map(area) / (manifest.width * manifest.height * manifest.scale**2)
    small = np.flatnonzero(share < MOST)
    case = replace(
        whole,
        rows=whole.rows[small],
        predicted=pd.Index(whole.packed.classes).get_indexer(manifest.label)[small],
        maps={name: values[small] for name, values in whole.maps.items()},
    )
    return case, said.assign(small=share < MOST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=("real", "drawn"), default="real")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    add_setting(parser)
    options = parser.parse_args()
    setting = dict(options.setting)
    asked = scores.JudgeSettings(judge_measures=["localization"], judge_images=1, seed=1)
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            place = prepared(Path(temporary, str(seed)), options.data, seed, setting)
            case, said = loaded(place)
            print(f"{options.data}, seed {seed}, {setting}: n = {len(case.rows)}", flush=True)
            if options.data == "real":
                right = (said[said.small].predicted == LABEL).to_numpy()
                elsewhere = said[said.label != LABEL].predicted == LABEL
                accuracy = said[~said.file.str.contains("/box-")]
                boxed = said[said.file.str.contains("/box-")].predicted
                print(f"  named right {told(interval(right, 0))}")
                print(f"  … of all with boxes {(boxed == LABEL).mean():.3f} (n = {len(boxed)})")
                print(f"  false alarms {elsewhere.sum()} of {len(elsewhere)}")
                print(
                    f"  test part of pokemon10 {(accuracy.label == accuracy.predicted).mean():.3f}"
                )
            table = tables.summary(case, scores.score(case, asked), seed=0)
            whole = table[(table.label == "") & table.measure.isin(MEASURES)]
            print(wide(whole, ["method"])[MEASURES].to_string(), flush=True)


if __name__ == "__main__":
    main()
