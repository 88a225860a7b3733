"""Divide the images into training, validation and test sets, and check the look-alikes."""

import json
from pathlib import Path

from pokecam.common.files import write_csv, write_json
from pokecam.common.params import read_params
from pokecam.common.running import run
from pokecam.data.packed import few_images
from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.split_file import read_split_file
from pokecam.data.packed.splits import SplitSettings, make_split
from pokecam.data.packing.classes import LookalikeSettings, select_lookalikes


def main(
    images: Path = Path("data/images"),
    source_classes: Path = Path("data/source_classes.json"),
    out: Path = Path("data/split.csv"),
    lookalikes_out: Path = Path("data/lookalikes.json"),
) -> None:
    settings = read_params(SplitSettings)
    lookalikes = select_lookalikes(
        read_params(LookalikeSettings).lookalikes,
        _classes(images / "classes.json"),
        _classes(source_classes),
    )
    manifest = read_table(images / "manifest.csv")
    split = make_split(
        manifest,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=settings.split_seed,
        fixed=read_split_file(Path(settings.split_file), manifest),
    )
    write_json(lookalikes_out, {"groups": lookalikes})
    write_csv(out, split)
    few_images.warn(few_images.after_split(split))


def _classes(path: Path) -> list[str]:
    return json.loads(path.read_text(encoding="utf-8"))["classes"]


if __name__ == "__main__":
    run(main)
