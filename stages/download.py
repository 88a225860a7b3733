"""Fetch or draw the raw pictures: one archive, byte for byte what the source gives."""

from pathlib import Path

from pokecam.params import read
from pokecam.running import run
from pokecam.sources import raw
from pokecam.sources.table import DownloadSettings, members


def main(out: Path = Path("data/raw.zip")) -> None:
    settings = read(DownloadSettings)
    raw.write(
        members(
            settings.source,
            images_per_class=settings.images_per_class,
            draw_seed=settings.draw_seed,
        ),
        out,
    )


if __name__ == "__main__":
    run(main)
