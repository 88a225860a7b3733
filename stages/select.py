"""Decode and pack the images of the chosen classes, and list the unusable files with reasons."""

from pathlib import Path

from pokecam.common.params import read_params
from pokecam.common.running import run
from pokecam.data.packing.pack import SelectSettings, pack


def main(
    raw: Path = Path("data/raw.zip"),
    out: Path = Path("data/images"),
    unfinished: Path = Path("checkpoints"),
) -> None:
    settings = read_params(SelectSettings)
    pack(
        raw,
        out,
        classes=settings.classes,
        lookalikes=settings.lookalikes,
        image_size=settings.image_size,
        unfinished=unfinished,
    )


if __name__ == "__main__":
    run(main)
