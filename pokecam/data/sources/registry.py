"""The one table of sources: how each is recognised and what gives its members."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import Settings
from pokecam.data.sources import archive, drawn, folder, kaggle

Members = Iterator[tuple[str, bytes]]


class DownloadSettings(Settings):
    """What `download` reads of params.yaml."""

    source: Annotated[str, Field(min_length=1)]
    images_per_class: Annotated[int, Field(ge=1, le=10_000)]
    draw_seed: Annotated[int, Field(ge=0, lt=2**32)]


class Source(NamedTuple):
    """A kind of source: is `source` one, and (path, images per class, seed) → members."""

    fits: Callable[[str], bool]
    members: Callable[[Path, int, int], Members]


SOURCES = {
    "drawn": Source(
        lambda source: source == "drawn",
        lambda path, count, seed: drawn.members(path, images_per_class=count, draw_seed=seed),
    ),
    "kaggle": Source(
        lambda source: source == "kaggle",
        lambda path, _count, _seed: kaggle.members(path),
    ),
    "folder": Source(
        lambda source: Path(source).is_dir(),
        lambda path, _count, _seed: folder.members(path),
    ),
    "zip": Source(
        lambda source: archive.is_zip(Path(source)),
        lambda path, _count, _seed: archive.members(path, archive.zip_entries),
    ),
    "tar": Source(
        lambda source: archive.is_tar(Path(source)),
        lambda path, _count, _seed: archive.members(path, archive.tar_entries),
    ),
}


def members(source: str, *, images_per_class: int, draw_seed: int) -> Members:
    """Yield (name in raw.zip, bytes) of everything that `source` gives.

    `source` is `drawn`, `kaggle`, or the path of a folder, .zip, .tar or .tar.gz of class
    folders; the other two matter to `drawn` alone. Raises `InputError` if there is no such
    thing, if it is of no known kind, or as the source itself does.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(
            f"source {source} does not exist.{did_you_mean(source, ('drawn', 'kaggle'))} Give "
            "drawn, kaggle, or the absolute path of a folder or archive of class folders"
        )
    for kind in SOURCES.values():
        if kind.fits(source):
            return kind.members(path, images_per_class, draw_seed)
    raise InputError(
        f"source {source} is neither a folder nor a .zip, .tar or .tar.gz archive: unpack it and "
        "give the folder"
    )
