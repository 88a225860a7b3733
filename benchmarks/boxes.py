"""Does a network that learnt from labels alone find the object, in real images with boxes?

    python benchmarks/boxes.py --data drawn --setting image_size=320 feature_stride=16
    python benchmarks/boxes.py --setting image_size=320 feature_stride=16 --seeds 1 2 3

Fine-tunes mobilenet_v2 from ../shared/real/weights with the stages and the committed parameters.
Judges the maps of the true class by every method, for images in which the object covers less than
half of the image: MaxBoxAccV2, pointing game and energy inside, with 95 % confidence intervals.

    drawn  the test set of the default images, on which method and setting are chosen
    real   trained on ../shared/real/pokemon10; judged on the Bulbasaurs of ../shared/real/boxes
           that are no near-duplicates of a training image. Also, how many of these are correctly
           classified, and how many test images of other classes are misclassified as Bulbasaur

Each of `--seeds` is both the seed of the split and that of the training.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from support.figures import wide, with_interval
from support.images import IMAGENET, REAL
from support.settings import add_setting
from support.stages import load_test_case, run, workplace

from pokecam.cam.stored_maps import StoredMaps
from pokecam.data.packed import csv_tables, splits
from pokecam.data.sources import folder as folder_source
from pokecam.data.sources import raw_zip
from pokecam.judging import scores, tables
from pokecam.judging.case import Case
from pokecam.judging.measures import JudgeSettings
from pokecam.judging.significance import interval

METHODS = ["cam", "pamr_cam", "finer_cam", "layer_cam", "grad_cam_plus_plus"]
MEASURES = ["max_box_acc_v2", "pointing", "energy"]
LABEL = "Bulbasaur"  # of all boxes
MAX_SHARE = 0.5  # of the area of the image that a small object covers


def pokemon10_and_boxes() -> Iterator[tuple[str, bytes]]:
    """Yield the members of raw.zip: the images of both sets, and the boxes of the second, whose
    files begin with `box-`."""
    yield from folder_source.members(REAL / "pokemon10")
    boxes = pd.read_csv(REAL / "boxes" / "boxes.csv")
    names = "box-" + boxes.image
    for name, image in zip(names, boxes.image, strict=True):
        yield f"images/{LABEL}/{name}", (REAL / "boxes" / "images" / image).read_bytes()
    yield "boxes.csv", boxes.assign(image=f"{LABEL}/" + names).to_csv(index=False).encode()


def split_like(pokemon10: Path, both: Path) -> None:
    """Split the images of the folder `both` as those of `pokemon10` are split.

    Images with boxes go to the test set, unless an image of the training or validation set is a
    near-duplicate.
    """
    subsets = pd.read_csv(pokemon10 / "data/split.csv").set_index("file").subset
    manifest = csv_tables.read_table(both / "data/images/manifest.csv")
    manifest["subset"] = manifest.file.map(subsets)
    used_groups = set(manifest[manifest.subset.isin(["train", "val"])].group)
    boxed = manifest.subset.isna()
    manifest.loc[boxed, "subset"] = np.where(
        manifest[boxed].group.isin(used_groups), splits.LEFT_OUT, "test"
    )
    manifest[["file", "label", "subset"]].to_csv(both / "data/split.csv", index=False)


def train(folder: Path, data: str, seed: int, setting: dict) -> Path:
    """Run the stages up to `cam` in a new folder."""
    changes = {
        **{"backbone": "mobilenet_v2", "weights": str(IMAGENET), "cam_methods": METHODS},
        **{"seed": seed, "split_seed": seed},
        **setting,
    }
    if data == "drawn":
        workplace(folder, **changes)
        run(folder, "download", "select", "split")
    else:
        pokemon10 = workplace(folder.with_name(f"{folder.name}-pokemon10"), **changes)
        raw_zip.write_raw_zip(folder_source.members(REAL / "pokemon10"), pokemon10 / "data/raw.zip")
        run(pokemon10, "select", "split")
        workplace(folder, **changes)
        raw_zip.write_raw_zip(pokemon10_and_boxes(), folder / "data/raw.zip")
        run(folder, "select")
        split_like(pokemon10, folder)
    run(folder, "weights", "train", "evaluate", "cam")
    return folder


def load_small(folder: Path) -> tuple[Case, pd.DataFrame]:
    """Load the test images with a small object, for judging the maps of their true class.

    MaxBoxAccV2 is defined by the true class.

    Returns:
        The case, and the predictions of all test images with a column `small`.
    """
    predictions = csv_tables.read_table(folder / "data/evaluation/predictions.csv")
    case = load_test_case(folder)
    manifest = case.packed.manifest.iloc[case.rows].reset_index(drop=True)
    boxes = case.packed.boxes.groupby("image").first()
    area = (boxes.xmax - boxes.xmin) * (boxes.ymax - boxes.ymin)
    share = manifest.file.map(area) / (manifest.width * manifest.height * manifest.scale**2)
    small = np.flatnonzero(share < MAX_SHARE)
    small_case = replace(
        case,
        rows=case.rows[small],
        predicted=pd.Index(case.packed.classes).get_indexer(manifest.label)[small],
        maps={name: StoredMaps(stored.values[small]) for name, stored in case.maps.items()},
    )
    return small_case, predictions.assign(small=share < MAX_SHARE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=("real", "drawn"), default="real")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    add_setting(parser)
    options = parser.parse_args()
    setting = dict(options.setting)
    settings = JudgeSettings(judge_measures=["localization"], judge_images=1, seed=1)
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            folder = train(Path(temporary, str(seed)), options.data, seed, setting)
            case, predictions = load_small(folder)
            print(f"{options.data}, seed {seed}, {setting}: n = {len(case.rows)}", flush=True)
            if options.data == "real":
                is_correct = (predictions[predictions.small].predicted == LABEL).to_numpy()
                false_alarms = predictions[predictions.label != LABEL].predicted == LABEL
                has_box = predictions.file.str.contains("/box-")
                pokemon10 = predictions[~has_box]
                boxed = predictions[has_box].predicted
                accuracy = (pokemon10.label == pokemon10.predicted).mean()
                print(f"  correctly classified {with_interval(interval(is_correct, 0))}")
                print(f"  … of all with boxes {(boxed == LABEL).mean():.3f} (n = {len(boxed)})")
                print(f"  false alarms {false_alarms.sum()} of {len(false_alarms)}")
                print(f"  test set of pokemon10 {accuracy:.3f}")
            table = tables.summary(case, scores.score(case, settings), seed=0)
            over_classes = table[(table.label == "") & table.measure.isin(MEASURES)]
            print(wide(over_classes, ["method"])[MEASURES].to_string(), flush=True)


if __name__ == "__main__":
    main()
