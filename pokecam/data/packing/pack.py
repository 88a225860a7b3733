"""From raw.zip to the folder of packed images that every later stage reads."""

import logging
import shutil
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import numpy as np
import pandas as pd
import PIL
from PIL import Image

from pokecam.common import checkpoint_key, running
from pokecam.common.errors import InputError
from pokecam.common.files import whole_folder, write_csv, write_json
from pokecam.common.progress import counting
from pokecam.data.packed import few_images
from pokecam.data.packed.letterbox import fit, letterbox, letterbox_mask
from pokecam.data.packing import tables
from pokecam.data.packing.classes import choose
from pokecam.data.packing.decode import UnusableError, decode, decode_mask, quiet_pillow
from pokecam.data.packing.duplicates import fingerprint, groups, near_pairs, same_image
from pokecam.data.packing.journal import RejectedFile, UnfinishedWork, UsableImage
from pokecam.data.packing.tables import PackedRow

MIN_IMAGES = 3  # of each class: one to train, one to validate, one to test
# Files are read and decoded ahead of the one that is written: at most so many per worker, and at
# most so many bytes altogether.
_FILES_AHEAD = 4
_BYTES_AHEAD = 128 * 2**20

log = logging.getLogger(__name__)


def pack(
    archive: Path,
    out: Path,
    *,
    classes: Sequence[str] | str,
    image_size: int,
    unfinished: Path,
    workers: int | None = None,
) -> list[str]:
    """Decode the images of the selected classes once and write them to a folder.

    The folder gets pixels.npy, manifest.csv, quarantine.csv, duplicates.csv and classes.json.
    Where the source has them, it also gets masks.npy, parts.csv, boxes.csv, scenes.csv and
    scenes/. `packed.images.load_packed` reads it. It is written whole or not at all.

    A file that cannot be used is listed in quarantine.csv with the reason. So is an image that is
    filed under two classes.

    Args:
        archive: raw.zip.
        out: the folder to write.
        classes: names of classes, or "all".
        image_size: side S in px of the packed images.
        unfinished: the folder for the work of a run that is interrupted. The next run continues
            from there.
        workers: threads that decode; None: one for each core. The number changes the time and
            nothing else.

    Returns:
        All classes of the source, selected or not, sorted.

    Raises:
        InputError: the classes do not fit the source, a class has fewer than `MIN_IMAGES` usable
            images, or a box or a mask does not fit its image.
    """
    workers = workers or running.usable_cores()
    with ZipFile(archive) as raw:
        files_by_class = _files_by_class(raw)
        selected = choose(classes, files_by_class)
        files = [file for label in sorted(selected) for file in files_by_class[label]]
        masks = {name for name in raw.namelist() if name.startswith("masks/")}
        work_folder = _choose_work_folder(unfinished, raw, files, image_size)
        with (
            whole_folder(out) as folder,
            UnfinishedWork(work_folder, image_size, masks=bool(masks)) as work,
        ):
            if work.n_done:
                log.warning(
                    "%d of %d images were decoded by an earlier run: continuing with the others",
                    work.n_done,
                    len(files),
                )
            remaining_files = files[work.n_done :]
            with counting("select", len(remaining_files)) as count:
                for item in _prepare_all(raw, masks, remaining_files, image_size, workers):
                    work.add(item)
                    count(1)
            rows = work.rows
            pairs = near_pairs([row.fingerprint for row in rows], workers)
            rejected = work.rejected + _reject_contradictions(rows, pairs)
            rejected_names = {item.file for item in rejected}
            usable = [number for number, row in enumerate(rows) if row.file not in rejected_names]
            usable_rows = [rows[number] for number in usable]
            _check_class_sizes(selected, usable_rows, rejected)
            write_json(folder / "classes.json", {"classes": selected})
            _write_tables(folder, usable_rows, _renumber(pairs, usable), rejected)
            _copy_source_tables(folder, raw, usable_rows, selected, files_by_class)
            work.move(usable, folder)
    return list(files_by_class)


def _choose_work_folder(parent: Path, raw: ZipFile, files: list[str], size_px: int) -> Path:
    """Return the folder for the work on these very files by this code; delete all other work."""
    contents = [(info.filename, info.CRC, info.file_size) for info in raw.infolist()]
    versions = (sys.version, PIL.__version__, np.__version__)
    folder = parent / f"select-{checkpoint_key.key((contents, files, size_px, versions))}"
    for other in parent.glob("select-*"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def _files_by_class(raw: ZipFile) -> dict[str, list[str]]:
    """Return class → its files ("Class/name.ext"), both sorted."""
    files: dict[str, list[str]] = defaultdict(list)
    for name in sorted(raw.namelist()):
        if name.startswith("images/"):
            file = name.removeprefix("images/")
            files[file.split("/")[0]].append(file)
    return dict(files)


def _prepare_all(
    raw: ZipFile, masks: set[str], files: list[str], size_px: int, workers: int
) -> Iterator[UsableImage | RejectedFile]:
    """Decode and letterbox the files on all cores; yield the results in the order of the files.

    `masks` holds the names of the masks in the archive.
    """
    queue: deque[tuple[Future[UsableImage | RejectedFile], int]] = deque()
    queued_bytes = 0
    Image.init()  # the first `open` would load Pillow's plugins, which many threads cannot do
    with quiet_pillow(), ThreadPoolExecutor(workers) as pool:
        for file in files:
            size_bytes = raw.getinfo(f"images/{file}").file_size
            while queue and (
                len(queue) >= _FILES_AHEAD * workers or queued_bytes + size_bytes > _BYTES_AHEAD
            ):
                result, result_bytes = queue.popleft()
                queued_bytes -= result_bytes
                yield result.result()
            data = raw.read(f"images/{file}")
            mask = f"masks/{file}.png"
            mask_data = raw.read(mask) if mask in masks else None
            queue.append((pool.submit(_prepare, file, data, mask_data, size_px), size_bytes))
            queued_bytes += size_bytes
        for result, _ in queue:
            yield result.result()


def _prepare(
    file: str, data: bytes, mask_data: bytes | None, size_px: int
) -> UsableImage | RejectedFile:
    try:
        image, width, height = decode(data, size_px)
    except UnusableError as error:
        return RejectedFile(file, str(error))
    placement = fit(width, height, size_px)
    fitted, pixels = letterbox(image, placement)
    row = PackedRow(file, width, height, placement, fingerprint(fitted))
    return UsableImage(row, pixels, _pack_mask(mask_data, row))


def _pack_mask(data: bytes | None, row: PackedRow) -> np.ndarray:
    """Decode and letterbox the mask of an image; it is empty where the source has none."""
    if data is None:
        return np.zeros((row.placement.size_px,) * 2, np.uint8)
    try:
        values = decode_mask(data, (row.width, row.height))
    except UnusableError as error:
        raise InputError(f"the mask of {row.file} {error}") from None
    return letterbox_mask(values, row.placement)


def _reject_contradictions(rows: list[PackedRow], pairs: np.ndarray) -> list[RejectedFile]:
    """Reject images that are filed under two classes: nothing says which label is right."""
    copies: dict[str, list[str]] = defaultdict(list)
    for i, j in pairs.tolist():
        a, b = rows[i], rows[j]
        if a.label != b.label and same_image(a.fingerprint, b.fingerprint):
            copies[a.file].append(b.file)
            copies[b.file].append(a.file)
    return [
        RejectedFile(file, f"the same image is filed under another class: {', '.join(names)}")
        for file, names in copies.items()
    ]


def _check_class_sizes(
    selected: list[str], usable_rows: list[PackedRow], rejected: list[RejectedFile]
) -> None:
    """Raise `InputError` if a class has fewer than `MIN_IMAGES` usable images, and name those that
    are too small to be learnt and judged."""
    counts = Counter(row.label for row in usable_rows)
    for label in selected:
        if counts[label] < MIN_IMAGES:
            of_class = [item for item in rejected if item.file.startswith(f"{label}/")]
            reason = ""
            if of_class:
                example = f"{of_class[0].file}: {of_class[0].reason}"
                reason = f"; {len(of_class)} cannot be used, {example}"
            raise InputError(
                f"class {label} has {counts[label]} usable images, {MIN_IMAGES} or more are "
                f"needed{reason}. Add images or take {label} out of `classes`"
            )
    few_images.warn(few_images.after_selection({label: counts[label] for label in selected}))


def _renumber(pairs: np.ndarray, usable: list[int]) -> list[tuple[int, int]]:
    """Select the pairs of which both images are usable, and number these images from 0."""
    numbers = {old: new for new, old in enumerate(usable)}
    return [(numbers[i], numbers[j]) for i, j in pairs.tolist() if i in numbers and j in numbers]


def _write_tables(
    folder: Path,
    usable_rows: list[PackedRow],
    pairs: list[tuple[int, int]],
    rejected: list[RejectedFile],
) -> None:
    """Write manifest.csv, duplicates.csv and quarantine.csv."""
    manifest = tables.manifest(usable_rows, groups(len(usable_rows), pairs))
    write_csv(folder / "manifest.csv", manifest)
    write_csv(folder / "duplicates.csv", tables.duplicates(manifest))
    quarantine = [(item.file, item.file.split("/")[0], item.reason) for item in sorted(rejected)]
    write_csv(
        folder / "quarantine.csv", pd.DataFrame(quarantine, columns=["file", "label", "reason"])
    )


def _copy_source_tables(
    folder: Path,
    raw: ZipFile,
    usable_rows: list[PackedRow],
    selected: list[str],
    files_by_class: dict[str, list[str]],
) -> None:
    """Write the tables of the source for the packed images, with boxes in packed pixels."""
    packed_files = {row.file for row in usable_rows}
    if (parts := tables.read_source_table(raw, "parts.csv")) is not None:
        write_csv(folder / "parts.csv", parts[parts.label.isin(selected)])
    if (scenes := tables.read_source_table(raw, "scenes.csv")) is not None:
        write_csv(folder / "scenes.csv", scenes[scenes.image.isin(packed_files)])
    if (boxes := tables.read_source_table(raw, "boxes.csv")) is not None:
        all_files = {file for files in files_by_class.values() for file in files}
        write_csv(folder / "boxes.csv", tables.packed_boxes(boxes, usable_rows, all_files))
    for name in raw.namelist():
        if name.startswith("scenes/"):
            (folder / "scenes").mkdir(exist_ok=True)
            (folder / "scenes" / PurePosixPath(name).name).write_bytes(raw.read(name))
