"""The table of sources: how each is recognised, and how its members are read.

A source is always a path. A .yaml file describes a data set. If it has the key `catalogue`, the
images are drawn; if it has the key `dataset`, they come from Kaggle.
"""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
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
    """An entry of `SOURCES`.

    Attributes:
        fits: returns whether a path is such a source.
        members: (path, images per class, seed) → its members.
        check: raises `InputError` for what DVC could not read when it computes the hash of a path.
    """

    fits: Callable[[Path], bool]
    members: Callable[[Path, int, int], Members]
    check: Callable[[Path], None] = lambda _path: None


def _is_yaml_with(key: str) -> Callable[[Path], bool]:
    """Return a function that says whether a path is a .yaml file with this key."""
    return lambda path: path.suffix in (".yaml", ".yml") and key in _read_yaml(path)


def _read_yaml(path: Path) -> dict:
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"cannot read the file {path}: {error}") from None
    return values if isinstance(values, dict) else {}


SOURCES = {
    "drawn": Source(
        _is_yaml_with("catalogue"),
        lambda path, count, seed: drawn.members(path, images_per_class=count, draw_seed=seed),
    ),
    "kaggle": Source(
        _is_yaml_with("dataset"),
        lambda path, _count, _seed: kaggle.members(path),
    ),
    "folder": Source(
        Path.is_dir,
        lambda path, _count, _seed: folder.members(path),
        folder.check,
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
        source: as in `find_source`.
        images_per_class: the number of drawn images of each class; other sources ignore it.
        draw_seed: the seed of drawn images; other sources ignore it.

    Returns:
        An iterator over (name in raw.zip, bytes).

    Raises:
        InputError: as in `find_source`, or the source itself raises the error.
    """
    return find_source(source).members(Path(source), images_per_class, draw_seed)


def find_source(source: str) -> Source:
    """Return the entry of `SOURCES` that fits a source.

    Args:
        source: the path of a .yaml file of `datasets/`, or of a folder, .zip, .tar or .tar.gz of
            class folders.

    Raises:
        InputError: the source does not exist or is none of the above.
    """
    path = Path(source)
    _check_exists(path)
    for entry in SOURCES.values():
        if entry.fits(path):
            return entry
    raise InputError(
        f"source {source} is neither a folder, nor a .zip, .tar or .tar.gz archive, nor a .yaml "
        "file with a line `catalogue: …` or `dataset: …`: unpack it and give the folder"
    )


def _check_exists(path: Path) -> None:
    """Check that a source exists.

    Raises:
        InputError: it does not exist. If its name is similar to that of a file of `datasets/`, the
            message says what to write.
    """
    if path.exists():
        return
    descriptions = {file.stem: file.as_posix() for file in sorted(DATASETS.glob("*.yaml"))}
    if path.stem in descriptions:
        raise InputError(f"source {path} does not exist: write -S source={descriptions[path.stem]}")
    similar = get_close_matches(path.stem.casefold(), descriptions, n=1)
    hint = f" Did you mean {descriptions[similar[0]]}?" if similar else ""
    available = ", ".join(descriptions.values()) or "a file of datasets/"
    raise InputError(
        f"source {path} does not exist.{hint} Give {available}, or the absolute path of a folder "
        "or archive of class folders"
    )
