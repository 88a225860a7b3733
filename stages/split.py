"""Divide the images into training, validation and test sets."""

from pathlib import Path

from pokecam.common.files import write_csv
from pokecam.common.params import read_params
from pokecam.common.running import run
from pokecam.data.packed import few_images
from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.splits import SplitSettings, make_split


def main(
    manifest: Path = Path("data/images/manifest.csv"), out: Path = Path("data/split.csv")
) -> None:
    settings = read_params(SplitSettings)
    split = make_split(
        read_table(manifest),
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=settings.split_seed,
    )
    write_csv(out, split)
    few_images.warn(few_images.after_split(split))


if __name__ == "__main__":
    run(main)
