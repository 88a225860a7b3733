"""From raw.zip to the folder of packed pixels that every later stage reads."""

import logging
import shutil
import sys
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from zipfile import ZipFile

import numpy as np
import pandas as pd
import PIL
from PIL import Image
from pydantic import BeforeValidator, Field

from pokecam.common import checkpoint_key, running
from pokecam.common.errors import InputError
from pokecam.common.files import whole_folder, write_csv, write_json
from pokecam.common.params import Settings
from pokecam.common.progress import counting
from pokecam.data.packed.letterbox import fit, letterbox, letterbox_mask
from pokecam.data.packing import tables
from pokecam.data.packing.classes import alike, choose
from pokecam.data.packing.decode import UnusableError, decode, decode_mask
from pokecam.data.packing.duplicates import fingerprint, groups, near_pairs, same_image
from pokecam.data.packing.journal import Packable, Rejected, Unfinished
from pokecam.data.packing.tables import PackedRow

MIN_IMAGES = 3  # of each class: one to train, one to validate, one to test
_AHEAD = 4  # files read and decoded ahead of the one being written, per worker
_AHEAD_BYTES = 128 * 2**20  # and no more than so much of them, whatever their number

log = logging.getLogger(__name__)


def _names_or_all(value: object) -> object:
    if isinstance(value, str) and value != "all":
        raise ValueError("is neither a list of class names nor `all`")
    return value


class SelectSettings(Settings):
    """What `select` reads of params.yaml."""

    classes: Annotated[list[str] | Literal["all"], BeforeValidator(_names_or_all)]
    lookalikes: list[list[str]]
    image_size: Annotated[int, Field(ge=64, le=1024)]


def pack(
    archive: Path,
    out: Path,
    *,
    classes: Sequence[str] | str,
    lookalikes: Iterable[Sequence[str]],
    image_size: int,
    unfinished: Path,
    workers: int | None = None,
) -> None:
    """Decode the chosen classes of raw.zip once and write them, whole, to the folder `out`.

    `out` gets pixels.npy, manifest.csv, quarantine.csv, duplicates.csv, classes.json and, where
    the source has them, masks.npy, parts.csv, boxes.csv, scenes.csv and scenes/;
    `packed.images.load` reads it. `classes` is a list of names or "all"; `workers` (None: one per
    core) changes the time and nothing else. A file that cannot be used, and an image filed under
    two classes, is named in quarantine.csv. `unfinished` is the folder for what an interrupted run
    has done, with which the next one goes on. Raises `InputError` for classes that do not fit the
    source, for a class with fewer than `MIN_IMAGES` usable images, and for boxes or masks
    that do not fit.
    """
    workers = workers or running.usable_cores()
    with ZipFile(archive) as raw:
        files = _files_by_class(raw)
        chosen = choose(classes, files)
        groups_alike = alike(lookalikes, chosen, files)
        wanted = [file for label in sorted(chosen) for file in files[label]]
        masks = {name for name in raw.namelist() if name.startswith("masks/")}
        place = _work_folder(unfinished, raw, wanted, image_size)
        with (
            whole_folder(out) as folder,
            Unfinished(place, image_size, masks=bool(masks)) as work,
        ):
            if work.done:
                log.warning("%d of %d images are decoded already: going on", work.done, len(wanted))
            left = wanted[work.done :]
            with counting("select", len(left)) as count:
                for item in _prepared(raw, masks, left, image_size, workers):
                    work.add(item)
                    count(1)
            rows = work.rows
            pairs = near_pairs([row.print for row in rows], workers)
            rejected = work.rejected + _filed_twice(rows, pairs)
            out_of_use = {item.file for item in rejected}
            kept = [number for number, row in enumerate(rows) if row.file not in out_of_use]
            _check_enough(chosen, [rows[number] for number in kept], rejected)
            write_json(folder / "classes.json", {"classes": chosen, "lookalikes": groups_alike})
            _write_tables(folder, rows, kept, pairs, rejected)
            _carry_tables(folder, raw, [rows[number] for number in kept], chosen, files)
            work.move(kept, folder)


def _work_folder(parent: Path, raw: ZipFile, wanted: list[str], size_px: int) -> Path:
    """Where the work on these very files, by this code, is kept; that on others is forgotten."""
    inside = [(info.filename, info.CRC, info.file_size) for info in raw.infolist()]
    versions = (sys.version, PIL.__version__, np.__version__)
    place = parent / f"select-{checkpoint_key.key((inside, wanted, size_px, versions))}"
    for other in parent.glob("select-*"):
        if other != place:
            shutil.rmtree(other)
    return place


def _files_by_class(raw: ZipFile) -> dict[str, list[str]]:
    """Return class → its files ("Class/name.ext"), both sorted."""
    files: dict[str, list[str]] = defaultdict(list)
    for name in sorted(raw.namelist()):
        if name.startswith("images/"):
            file = name.removeprefix("images/")
            files[file.split("/")[0]].append(file)
    return dict(files)


def _prepared(
    raw: ZipFile, masks: set[str], files: list[str], size_px: int, workers: int
) -> Iterator[Packable | Rejected]:
    """Decode and fit the files on all cores, in order, a few ahead of the one asked for. `masks`:
    those that there are."""
    waiting: deque[tuple[Future[Packable | Rejected], int]] = deque()
    ahead_bytes = 0
    Image.init()  # the first `open` would load Pillow's plugins, and not safely in many threads
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # sizes and EXIF: judged in `decode`
        for file in files:
            size_bytes = raw.getinfo(f"images/{file}").file_size
            while waiting and (
                len(waiting) >= _AHEAD * workers or ahead_bytes + size_bytes > _AHEAD_BYTES
            ):
                done, done_bytes = waiting.popleft()
                ahead_bytes -= done_bytes
                yield done.result()
            data = raw.read(f"images/{file}")
            mask = f"masks/{file}.png"
            known = raw.read(mask) if mask in masks else None
            waiting.append((pool.submit(_prepare, file, data, known, size_px), size_bytes))
            ahead_bytes += size_bytes
        for done, _ in waiting:
            yield done.result()


def _prepare(file: str, data: bytes, mask_data: bytes | None, size_px: int) -> Packable | Rejected:
    try:
        image, width, height = decode(data, size_px)
    except UnusableError as error:
        return Rejected(file, str(error))
    place = fit(width, height, size_px)
    fitted, pixels = letterbox(image, place)
    row = PackedRow(file, width, height, place, fingerprint(fitted))
    mask = np.zeros(pixels.shape[:2], np.uint8) if mask_data is None else _mask(mask_data, row)
    return Packable(row, pixels, mask)


def _mask(data: bytes, row: PackedRow) -> np.ndarray:
    """The packed mask."""
    try:
        values = decode_mask(data, (row.width, row.height))
    except UnusableError as error:
        raise InputError(f"the mask of {row.file} {error}") from None
    return letterbox_mask(values, row.place)


def _filed_twice(rows: list[PackedRow], pairs: np.ndarray) -> list[Rejected]:
    """The images that are filed under more than one class: which label is right is not known."""
    others: dict[str, list[str]] = defaultdict(list)
    for i, j in pairs.tolist():
        a, b = rows[i], rows[j]
        if a.label != b.label and same_image(a.print, b.print):
            others[a.file].append(b.file)
            others[b.file].append(a.file)
    return [
        Rejected(file, f"the same image is filed under another class: {', '.join(found)}")
        for file, found in others.items()
    ]


def _check_enough(chosen: list[str], kept: list[PackedRow], rejected: list[Rejected]) -> None:
    counts = Counter(row.label for row in kept)
    for label in chosen:
        if counts[label] < MIN_IMAGES:
            lost = [item for item in rejected if item.file.startswith(f"{label}/")]
            why = f"; {len(lost)} cannot be used, {lost[0].file}: {lost[0].reason}" if lost else ""
            raise InputError(
                f"class {label} has {counts[label]} usable images, {MIN_IMAGES} or more are "
                f"needed{why}. Add images or take {label} out of `classes`"
            )


def _write_tables(
    folder: Path,
    rows: list[PackedRow],
    kept: list[int],
    pairs: np.ndarray,
    rejected: list[Rejected],
) -> None:
    """Write what is known of the packed images and of those left out."""
    new_number = {old: new for new, old in enumerate(kept)}
    kept_pairs = [
        (new_number[i], new_number[j])
        for i, j in pairs.tolist()
        if i in new_number and j in new_number
    ]
    manifest = tables.manifest([rows[number] for number in kept], groups(len(kept), kept_pairs))
    write_csv(folder / "manifest.csv", manifest)
    write_csv(folder / "duplicates.csv", tables.duplicates(manifest))
    quarantine = [(item.file, item.file.split("/")[0], item.reason) for item in sorted(rejected)]
    write_csv(
        folder / "quarantine.csv", pd.DataFrame(quarantine, columns=["file", "label", "reason"])
    )


def _carry_tables(
    folder: Path,
    raw: ZipFile,
    kept: list[PackedRow],
    chosen: list[str],
    files: dict[str, list[str]],
) -> None:
    """Write the source's own tables, cut down to the packed images, boxes in packed pixels."""
    packed = {row.file for row in kept}
    if (parts := tables.read_source_table(raw, "parts.csv")) is not None:
        write_csv(folder / "parts.csv", parts[parts.label.isin(chosen)])
    if (scenes := tables.read_source_table(raw, "scenes.csv")) is not None:
        write_csv(folder / "scenes.csv", scenes[scenes.image.isin(packed)])
    if (boxes := tables.read_source_table(raw, "boxes.csv")) is not None:
        all_files = {file for found in files.values() for file in found}
        write_csv(folder / "boxes.csv", tables.packed_boxes(boxes, kept, all_files))
    for name in raw.namelist():
        if name.startswith("scenes/"):
            (folder / "scenes").mkdir(exist_ok=True)
            (folder / "scenes" / PurePosixPath(name).name).write_bytes(raw.read(name))
