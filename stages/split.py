"""Divide the images into training, validation and test sets."""

from pathlib import Path

from pokecam.common.files import write_csv
from pokecam.common.params import read_params
from pokecam.common.running import run
from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.split_file import read_split_file
from pokecam.data.packed.splits import SplitSettings, make_split


def main(
    manifest: Path = Path("data/images/manifest.csv"), out: Path = Path("data/split.csv")
) -> None:
    settings = read_params(SplitSettings)
    table = read_table(manifest)
    write_csv(
        out,
        make_split(
            table,
            val_fraction=settings.val_fraction,
            test_fraction=settings.test_fraction,
            seed=settings.split_seed,
            fixed=read_split_file(Path(settings.split_file), table),
        ),
    )


if __name__ == "__main__":
    run(main)
