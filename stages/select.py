"""Decode and pack the images of the chosen classes, and list the unusable files with reasons."""

from pathlib import Path

from pokecam.common.errors import InputError
from pokecam.common.files import write_json
from pokecam.common.params import read_all_params, read_params
from pokecam.common.running import run
from pokecam.data.packing.classes import OtherSourceError, SelectSettings, command_for_all
from pokecam.data.packing.pack import pack


def main(
    raw: Path = Path("data/raw.zip"),
    out: Path = Path("data/images"),
    source_classes: Path = Path("data/source_classes.json"),
    unfinished: Path = Path("checkpoints"),
) -> None:
    settings = read_params(SelectSettings)
    try:
        available = pack(
            raw,
            out,
            classes=settings.classes,
            image_size=settings.image_size,
            unfinished=unfinished,
        )
    except OtherSourceError as error:
        # Parameters of other stages: they change this message, and nothing that is written.
        values = read_all_params()
        command = command_for_all(values["source"], values["lookalikes"], error.available)
        raise InputError(f"{error}. To use all of them: {command}") from None
    write_json(source_classes, {"classes": available})


if __name__ == "__main__":
    run(main)
