"""The table of sources: how each is recognised, and what gives its members.

A source is always a path. A .yaml file describes a data set, and the key that it holds says which
kind: `catalogue` for drawn images, `dataset` for a set on Kaggle.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from pokecam.common.errors import InputError
from pokecam.common.params import Settings, load_yaml
from pokecam.data.sources import archive, drawn, folder, kaggle

DATASETS = Path("datasets")  # the descriptions that come with the project

Members = Iterator[tuple[str, bytes]]


class DownloadSettings(Settings):
    """The parameters of `download`."""

    source: Annotated[str, Field(min_length=1)]
    images_per_class: Annotated[int, Field(ge=1, le=10_000)]
    draw_seed: Annotated[int, Field(ge=0, lt=2**32)]


class Source(NamedTuple):
    """A kind of source.

    Attributes:
        fits: whether a path is a source of this kind.
        members: (path, images per class, seed) → members.
    """

    fits: Callable[[Path], bool]
    members: Callable[[Path, int, int], Members]


def _describes(key: str) -> Callable[[Path], bool]:
    """Return a test for .yaml files that hold a key."""
    return lambda path: path.suffix in (".yaml", ".yml") and key in _description(path)


def _description(path: Path) -> dict:
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"cannot read the file {path}: {error}") from None
    return values if isinstance(values, dict) else {}


SOURCES = {
    "drawn": Source(
        _describes("catalogue"),
        lambda path, count, seed: drawn.members(path, images_per_class=count, draw_seed=seed),
    ),
    "kaggle": Source(
        _describes("dataset"),
        lambda path, _count, _seed: kaggle.members(path),
    ),
    "folder": Source(
        Path.is_dir,
        lambda path, _count, _seed: folder.members(path),
    ),
    "zip": Source(
        archive.is_zip,
        lambda path, _count, _seed: archive.members(path, archive.zip_entries),
    ),
    "tar": Source(
        archive.is_tar,
        lambda path, _count, _seed: archive.members(path, archive.tar_entries),
    ),
}


def members(source: str, *, images_per_class: int, draw_seed: int) -> Members:
    """Return the members of a source.

    Args:
        source: the path of a .yaml file of `datasets/`, or of a folder, .zip, .tar or .tar.gz of
            class folders.
        images_per_class: of drawn images only.
        draw_seed: of drawn images only.

    Returns:
        An iterator over (name in raw.zip, bytes).

    Raises:
        InputError: the source does not exist or is of no known kind, or as the source raises it.
    """
    path = Path(source)
    check_exists(path)
    for kind in SOURCES.values():
        if kind.fits(path):
            return kind.members(path, images_per_class, draw_seed)
    raise InputError(
        f"source {source} is neither a folder, nor a .zip, .tar or .tar.gz archive, nor a .yaml "
        "file with a line `catalogue: …` or `dataset: …`: unpack it and give the folder"
    )


def check_exists(path: Path) -> None:
    """Check that there is such a source.

    Raises:
        InputError: there is none; for the name of a file of `datasets/`, such as `kaggle`, it says
            what to write.
    """
    if path.exists():
        return
    named = DATASETS / f"{path.name}.yaml"
    if named.exists():
        raise InputError(f"source {path} does not exist: write -S source={named.as_posix()}")
    described = ", ".join(file.as_posix() for file in sorted(DATASETS.glob("*.yaml")))
    raise InputError(
        f"source {path} does not exist: give {described or 'a file of datasets/'}, or the absolute "
        "path of a folder or archive of class folders"
    )
