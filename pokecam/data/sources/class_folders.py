"""From a tree of files to the members of raw.zip: which files are images, and of which class.

The class of an image is the nearest folder above it, at any depth. Equal images of the same class
and name become one image, because many archives on Kaggle hold the same tree twice. Different
images of the same class and name get different names. The mask of an image is the file beside it
with the same name and the ending `.mask.png`.
"""

import hashlib
import logging
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import PurePosixPath
from typing import IO

from pokecam.common.errors import InputError
from pokecam.data.sources.formats import (
    HEAD_BYTES,
    has_image_content,
    has_image_ending,
    has_readable_ending,
)
from pokecam.data.sources.names import MAC_ICON, folded_name, is_leftover, normalise_name

log = logging.getLogger(__name__)

BOXES = "boxes.csv"
MASK = ".mask.png"
MAX_FILE_MIB = 256  # one file is held in memory; real images are far smaller
MAX_NAME = 1000  # characters of a file's path inside its source; all paths are in memory
_MAX_LISTED = 5  # files that a message names
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_MAX_CHARACTERS = 80  # of a name in a message
_UNREADABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, surrogates, ends of lines
_CHUNK_BYTES = 2**16  # zipfile unpacks all the bytes asked for before it cuts the excess


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a source.

    Attributes:
        path: its path inside the source, separated by "/".
        size_bytes: its size.
        open: a function that opens it.
    """

    path: str
    size_bytes: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    @property
    def is_too_large(self) -> bool:
        return self.size_bytes > MAX_FILE_MIB * 2**20

    def read(self) -> bytes:
        """Return the content of the file.

        Raises:
            InputError: the file is too large for an image.
        """
        if self.is_too_large:
            raise InputError(
                f"{self.path} has {self.size_bytes / 2**20:.0f} MiB, an image may have "
                f"{MAX_FILE_MIB}: remove it from the source"
            )
        with self.open() as file:
            return b"".join(iter(partial(file.read, _CHUNK_BYTES), b""))

    def head(self) -> bytes:
        """Return the first `HEAD_BYTES` bytes, which show the format."""
        with self.open() as file:
            return file.read(HEAD_BYTES)


def members(entries: Iterable[Entry], source: str) -> Iterator[tuple[str, bytes]]:
    """Select the members of raw.zip from the files of a source.

    Hidden files and what systems leave behind (`names.is_leftover`) are ignored, and so are files
    with neither the name nor the first bytes of an image. A warning names them. A file that has
    one of the two is a member, and `select` decides later whether it can be used.

    Args:
        entries: all files of the source.
        source: its path as the user wrote it, for messages.

    Yields:
        (name in raw.zip, bytes): boxes.csv, if there is one, then each image, such as
        `images/Class/a.jpg`, then each mask, such as `masks/Class/a.jpg.png`. Images and masks are
        sorted by name.

    Raises:
        InputError: no image lies in a class folder, two classes differ only in capital letters or
            blanks, or a mask does not belong to exactly one image.
    """
    images, masks, other_files = _sort_entries(entries)
    if not images:
        raise InputError(
            f"source {source} holds no images in class folders: CLASS/image.jpg is needed, "
            f"at any depth, and there is {_list_paths(other_files) or 'nothing'}"
            f"{_archive_hint(other_files)}"
        )
    _check_classes(images, source)
    boxes = _find_boxes(images, other_files)
    ignored = [entry for entry in other_files if entry is not boxes]
    if ignored:
        log.warning("ignored files that are no images in class folders: %s", _list_paths(ignored))
    if boxes:
        yield BOXES, boxes.read()
    mask_of = _match_masks(masks, images)
    named_images = sorted(_name_images(images).items())
    for name, entry in named_images:
        yield f"images/{name}", entry.read()
    for name, entry in named_images:
        if entry.path in mask_of:
            yield f"masks/{name}.png", mask_of[entry.path].read()


def _sort_entries(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Return the images in class folders, the masks, and all other files, by depth and path."""
    images: list[Entry] = []
    masks: list[Entry] = []
    other_files: list[Entry] = []
    for entry in sorted(entries, key=lambda entry: (entry.path.count("/"), entry.path)):
        *folders, name = check_path(entry.path).split("/")
        if not folders or any(map(is_leftover, (*folders, name))):
            other_files.append(entry)
        elif name.lower().endswith(MASK):
            masks.append(entry)
        else:
            (images if _is_image(name, entry) else other_files).append(entry)
    return images, masks, other_files


def _check_classes(images: list[Entry], source: str) -> None:
    """Name folders that are read as one class, and refuse two that are probably one."""
    counts = Counter(entry.path.split("/")[-2] for entry in images)
    folders_of: dict[str, set[str]] = defaultdict(set)  # class → names of folders
    for folder in counts:
        folders_of[normalise_name(folder)].add(folder)
    for label, folders in folders_of.items():
        if len(folders) > 1:
            log.warning(
                "read as one class, %s: %s", label, ", ".join(map(shorten, sorted(folders)))
            )
    similar: dict[str, list[str]] = defaultdict(list)
    for label in sorted(folders_of):
        similar[folded_name(label)].append(label)
    for labels in similar.values():
        if len(labels) > 1:
            sizes = (sum(counts[folder] for folder in folders_of[label]) for label in labels)
            listed = " and ".join(
                f"{shorten(label)} ({size} image{'s' * (size != 1)})"
                for label, size in zip(labels, sizes, strict=True)
            )
            raise InputError(
                f"source {source}: the classes {listed} differ only in capital letters or blanks: "
                "give both folders one name if they are one class, or else names that differ in "
                "more than that"
            )


def check_path(path: str) -> str:
    """Check the path of a file inside its source, and return it.

    Raises:
        InputError: the path is too long, or holds characters that are not readable text.
    """
    if len(path) > MAX_NAME:
        raise InputError(
            f"the file name {shorten(path)} has {len(path)} characters, {MAX_NAME} are read: "
            "rename the file"
        )
    is_readable = path.isprintable() or path.endswith(MAC_ICON)
    if not is_readable and any(
        unicodedata.category(character) in _UNREADABLE for character in path
    ):
        raise InputError(f"the file name {shorten(path)} is not readable text: rename the file")
    return path


def shorten(name: str) -> str:
    """Return a name for a message: in quotes, with unreadable characters escaped, cut if long."""
    return f"{name[:_MAX_CHARACTERS]!r}{'…' if len(name) > _MAX_CHARACTERS else ''}"


def _is_image(name: str, entry: Entry) -> bool:
    if has_readable_ending(name):
        return True
    if has_image_ending(name):  # one that would not be used does not end the run by its size
        return not entry.is_too_large
    return has_image_content(entry.head())


def _match_masks(masks: list[Entry], images: list[Entry]) -> dict[str, Entry]:
    """Return path of an image → its mask."""
    images_of: dict[str, list[Entry]] = defaultdict(list)  # path without ending → images
    for image in images:
        images_of[str(PurePosixPath(image.path).with_suffix(""))].append(image)
    mask_of = {}
    for mask in masks:
        matches = images_of[mask.path[: -len(MASK)]]
        # Beside an image may lie the file of the editor in which it was made.
        matches = [image for image in matches if has_readable_ending(image.path)] or matches
        if len(matches) != 1:
            paths = " and ".join(image.path for image in matches) or "no image"
            raise InputError(
                f"the mask {mask.path} belongs to {paths}: name it after the one image beside it, "
                f"image{MASK} for image.jpg"
            )
        mask_of[matches[0].path] = mask
    return mask_of


def _name_images(images: list[Entry]) -> dict[str, Entry]:
    """Return "Class/name.ext" → entry.

    Equal files with the same name have one entry. Different files get different names.
    """
    by_name: dict[str, list[Entry]] = defaultdict(list)
    for entry in images:
        label, name = map(normalise_name, entry.path.split("/")[-2:])
        by_name[f"{label}/{name}"].append(entry)
    entry_of = {name: same_name[0] for name, same_name in by_name.items()}
    for name, same_name in by_name.items():
        if len(same_name) > 1:
            free_names = _free_names(name, entry_of)
            for entry in _without_duplicates(same_name)[1:]:
                entry_of[next(free_names)] = entry
    return entry_of


def _without_duplicates(entries: list[Entry]) -> list[Entry]:
    """Return the first entry of each content."""
    first: dict[bytes, Entry] = {}
    for entry in entries:
        first.setdefault(hashlib.sha256(entry.read()).digest(), entry)
    return list(first.values())


def _free_names(name: str, used_names: Collection[str]) -> Iterator[str]:
    """Yield name-2, name-3, …, without those that are in use."""
    path = PurePosixPath(name)
    for number in count(2):
        numbered_name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
        if numbered_name not in used_names:
            yield numbered_name


def _find_boxes(images: list[Entry], other_files: list[Entry]) -> Entry | None:
    """Return the boxes.csv at the top, or beside the class folders if they share one folder."""
    parents = [f"/{PurePosixPath(entry.path).parent.parent}" for entry in images]
    beside_classes = PurePosixPath(os.path.commonpath(parents))
    for entry in reversed(other_files):  # the deepest boxes.csv that is not below `beside_classes`
        path = PurePosixPath("/", entry.path)
        if path.name == BOXES and beside_classes.is_relative_to(path.parent):
            return entry
    return None


def _archive_hint(entries: list[Entry]) -> str:
    has_archive = any(entry.path.lower().endswith(_ARCHIVES) for entry in entries)
    return "; archives in it are not opened: unpack them" if has_archive else ""


def _list_paths(entries: list[Entry]) -> str:
    paths = ", ".join(
        entry.path if entry.path.isprintable() else shorten(entry.path)
        for entry in entries[:_MAX_LISTED]
    )
    n_more = len(entries) - _MAX_LISTED
    return f"{paths} and {n_more} more" if n_more > 0 else paths
