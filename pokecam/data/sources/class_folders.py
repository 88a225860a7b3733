"""From a tree of files to the members of raw.zip: which are images, and of which class.

An image's class is the nearest folder above it, at any depth. The same tree nested twice (many
Kaggle archives) gives each image once; other bytes under the same class and name are kept
under a name of their own. An image's mask is the file beside it with its name and `.mask.png` in
the place of its ending.
"""

import hashlib
import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import PurePosixPath
from typing import IO

from pokecam.common.errors import InputError
from pokecam.data.sources.formats import HEAD_BYTES, promises_image, shows_image
from pokecam.data.sources.names import one_form

log = logging.getLogger(__name__)

BOXES = "boxes.csv"
MASK = ".mask.png"
MAX_FILE_MIB = 256  # one file is held in memory; no real image comes near this
MAX_NAME = 1000  # characters of a file's path inside its source; all are in memory
_NAMES_SHOWN = 5
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_CHARACTERS_SHOWN = 80
_UNREADABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, ends of lines
_CHUNK_BYTES = 2**16  # zipfile unpacks as much as it is asked for, and only then cuts it


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a source: its "/"-separated path inside it, its size, and how to open it."""

    path: str
    size_bytes: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    def read(self) -> bytes:
        """Return the whole file; `InputError` if it is too large to be an image."""
        if self.size_bytes > MAX_FILE_MIB * 2**20:
            raise InputError(
                f"{self.path} has {self.size_bytes / 2**20:.0f} MiB, an image may have "
                f"{MAX_FILE_MIB}: take it out of the source"
            )
        with self.open() as file:
            return b"".join(iter(partial(file.read, _CHUNK_BYTES), b""))

    def head(self) -> bytes:
        """Return the first bytes, enough to tell the format."""
        with self.open() as file:
            return file.read(HEAD_BYTES)


def members(entries: Iterable[Entry], source: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name in raw.zip, bytes) of boxes.csv, if there is one, each image, and each mask, by
    name: `images/Class/a.jpg` and `masks/Class/a.jpg.png`.

    Hidden files and those that neither by name nor by content are images are left out and
    named in a warning; what only claims to be an image is for `select` to judge. `source` is
    what the user wrote, for messages. Raises `InputError` if no image lies in a class folder, or
    a mask is not that of one image.
    """
    images, masks, others = _sort_out(entries)
    if not images:
        raise InputError(
            f"source {source} holds no images in class folders: CLASS/image.jpg is needed, "
            f"at any depth, and there is {_some(others) or 'nothing'}{_packed(others)}"
        )
    boxes = _boxes(images, others)
    ignored = [entry for entry in others if entry is not boxes]
    if ignored:
        log.warning("ignored what is no image in a class folder: %s", _some(ignored))
    if boxes:
        yield BOXES, boxes.read()
    mask_of = _paired(masks, images)
    named = sorted(_named(images).items())
    for name, entry in named:
        yield f"images/{name}", entry.read()
    for name, entry in named:
        if entry.path in mask_of:
            yield f"masks/{name}.png", mask_of[entry.path].read()


def _sort_out(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Images that have a class folder, masks, and all other files; shallow ones first, then by
    path."""
    images: list[Entry] = []
    masks: list[Entry] = []
    others: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: (entry.path.count("/"), entry.path)):
        *folders, name = checked(entry.path).split("/")
        hidden = any(part.startswith((".", "__MACOSX")) for part in (*folders, name))
        if not folders or hidden:
            others.append(entry)
        elif name.lower().endswith(MASK):
            masks.append(entry)
        else:
            (images if _is_image(name, entry) else others).append(entry)
    return images, masks, others


def checked(path: str) -> str:
    """Return the path of a file inside its source; `InputError` if it is too long or no text."""
    if len(path) > MAX_NAME:
        raise InputError(
            f"the file name {shortened(path)} has {len(path)} characters, {MAX_NAME} are read: "
            "rename the file"
        )
    if not path.isprintable() and any(
        unicodedata.category(character) in _UNREADABLE for character in path
    ):
        raise InputError(f"the file name {shortened(path)} is not readable text: rename the file")
    return path


def shortened(name: str) -> str:
    """A name in quotes for a message, unreadable characters escaped, cut if it is long."""
    return f"{name[:_CHARACTERS_SHOWN]!r}{'…' if len(name) > _CHARACTERS_SHOWN else ''}"


def _is_image(name: str, entry: Entry) -> bool:
    return promises_image(name) or shows_image(entry.head())


def _paired(masks: list[Entry], images: list[Entry]) -> dict[str, Entry]:
    """Return path of an image → its mask."""
    beside: dict[str, list[Entry]] = defaultdict(list)
    for image in images:
        beside[str(PurePosixPath(image.path).with_suffix(""))].append(image)
    mask_of = {}
    for mask in masks:
        found = beside[mask.path[: -len(MASK)]]
        if len(found) != 1:
            fits = " and ".join(image.path for image in found) or "no image"
            raise InputError(
                f"the mask {mask.path} belongs to {fits}: name it after the one image beside it, "
                f"image{MASK} for image.jpg"
            )
        mask_of[found[0].path] = mask
    return mask_of


def _named(images: list[Entry]) -> dict[str, Entry]:
    """Return "Class/name.ext" → entry: equal files once, unequal ones of one name told apart."""
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for entry in images:
        label, name = map(one_form, entry.path.split("/")[-2:])
        by_name[f"{label}/{name}"].append(entry)
    named = {name: same_name[0] for name, same_name in by_name.items()}
    for name, same_name in by_name.items():
        if len(same_name) > 1:
            free = _free_names(name, named)
            for entry in _unequal(same_name)[1:]:
                named[next(free)] = entry
    return named


def _unequal(entries: list[Entry]) -> list[Entry]:
    first: dict[bytes, Entry] = {}
    for entry in entries:
        first.setdefault(hashlib.sha256(entry.read()).digest(), entry)
    return list(first.values())


def _free_names(name: str, taken: Collection[str]) -> Iterator[str]:
    path = PurePosixPath(name)
    for number in count(2):
        free = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        if free not in taken:
            yield free


def _boxes(images: list[Entry], others: list[Entry]) -> Entry | None:
    """Return the boxes.csv at the top, or beside the class folders where all share one folder."""
    above = [f"/{PurePosixPath(entry.path).parent.parent}" for entry in images]
    beside_classes = PurePosixPath(os.path.commonpath(above))
    for entry in reversed(others):  # the deepest that is not too deep
        path = PurePosixPath("/", entry.path)
        if path.name == BOXES and beside_classes.is_relative_to(path.parent):
            return entry
    return None


def _packed(entries: list[Entry]) -> str:
    nested = any(entry.path.lower().endswith(_ARCHIVES) for entry in entries)
    return "; archives in it are not opened: unpack them" if nested else ""


def _some(entries: list[Entry]) -> str:
    names = ", ".join(entry.path for entry in entries[:_NAMES_SHOWN])
    more = len(entries) - _NAMES_SHOWN
    return f"{names} and {more} more" if more > 0 else names
