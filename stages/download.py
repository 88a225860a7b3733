"""Download or draw the raw images, and write them unchanged into one archive."""

from pathlib import Path

from pokecam.common.params import read_params
from pokecam.common.running import run
from pokecam.data.sources import raw_zip
from pokecam.data.sources.registry import DownloadSettings, members


def main(out: Path = Path("data/raw.zip")) -> None:
    settings = read_params(DownloadSettings)
    raw_zip.write_raw_zip(
        members(
            settings.source,
            images_per_class=settings.images_per_class,
            draw_seed=settings.draw_seed,
        ),
        out,
    )


if __name__ == "__main__":
    run(main)
