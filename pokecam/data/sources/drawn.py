"""The drawn Pokédex as a source: every species, many images each, and where its parts are.

Members of raw.zip, after the images themselves (`images/<Species>/<number>.jpg`):

    masks/<Species>/<number>.jpg.png   indexed PNG, 0 = no part, i = the part with that index
    parts.csv                     label,index,part
    boxes.csv                     image,label,xmin,ymin,xmax,ymax: the visible parts, in pixels;
                                  xmax and ymax are the first column and row beyond them
    scenes.csv                    image,label,seed and every nuisance value
    scenes/                       the settings and the species, to render a scene again
"""

import colorsys
import csv
import hashlib
import io
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from pokecam.common import running

if TYPE_CHECKING:
    from pokecam.data.drawn.nuisances import DrawnSettings, Nuisances
    from pokecam.data.drawn.species import Species

_WORTH_A_PROCESS = 200  # images; starting one takes as long as drawing about a hundred
_BATCH = 16


class _Task(NamedTuple):
    label: str
    number: int
    seed: int


class _Drawn(NamedTuple):
    task: _Task
    jpeg: bytes
    mask: bytes
    box: tuple[int, int, int, int] | None
    nuisances: "Nuisances"


def members(
    settings_file: Path, *, images_per_class: int, draw_seed: int, workers: int | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield (name in raw.zip, bytes) of the set that `settings_file` describes.

    The seed of an image follows from `draw_seed`, its species and its number alone, so neither
    more images nor more species nor the number of `workers` (default: one per core) changes
    any. Raises `InputError` for settings or species that cannot be read.
    """
    # A second to import, and only this source needs it.
    from pokecam.data.drawn import nuisances, species

    settings = nuisances.read_settings(settings_file)
    catalogue = species.catalogue(settings_file.parent / settings.catalogue)
    tasks = [
        _Task(label, number, image_seed(draw_seed, label, number))
        for label in catalogue
        for number in range(images_per_class)
    ]
    boxes, scenes = [], []
    for drawn in _draw_all(tasks, catalogue, settings, workers):
        label, name = drawn.task.label, f"{drawn.task.label}/{drawn.task.number:04d}"
        yield f"images/{name}.jpg", drawn.jpeg
        yield f"masks/{name}.jpg.png", drawn.mask
        first = {"image": f"{name}.jpg", "label": label}
        if drawn.box is not None:
            boxes.append(
                first | dict(zip(("xmin", "ymin", "xmax", "ymax"), drawn.box, strict=True))
            )
        scenes.append(first | asdict(drawn.nuisances))
    parts = [
        {"label": label, "index": index, "part": part.name}
        for label, one in catalogue.items()
        for index, part in enumerate(one.parts, 1)
    ]
    for file, rows in (("parts", parts), ("boxes", boxes), ("scenes", scenes)):
        yield f"{file}.csv", _csv(rows)
    yield f"{nuisances.FOLDER}/{nuisances.SETTINGS_FILE}", settings_file.read_bytes()
    for path in species.files(settings_file.parent / settings.catalogue):
        yield f"{nuisances.FOLDER}/{path.name}", path.read_bytes()


def image_seed(draw_seed: int, label: str, number: int) -> int:
    """The seed of one image, 0 … 2**48 − 1."""
    digest = hashlib.sha256(f"{draw_seed} {label} {number}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def _draw_all(
    tasks: list[_Task],
    catalogue: "dict[str, Species]",
    settings: "DrawnSettings",
    workers: int | None,
) -> Iterator[_Drawn]:
    """Draw the tasks in their order, on several processes if it is worth starting them."""
    if workers is None:
        workers = min(running.usable_cores(), 1 + len(tasks) // _WORTH_A_PROCESS)
    if workers == 1:
        _start(catalogue, settings)
        yield from map(_draw, tasks)
        return
    # spawn: a fork would copy whatever threads and locks the caller has
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _start_worker, (catalogue, settings)) as pool:
        yield from pool.imap(_draw, tasks, chunksize=_BATCH)


_catalogue: "dict[str, Species]" = {}
_settings: "DrawnSettings | None" = None


def _start(catalogue: "dict[str, Species]", settings: "DrawnSettings") -> None:
    """Give a process what all its tasks need."""
    global _catalogue, _settings
    _catalogue, _settings = catalogue, settings


def _start_worker(catalogue: "dict[str, Species]", settings: "DrawnSettings") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    _start(catalogue, settings)


def _draw(task: _Task) -> _Drawn:
    from pokecam.data.drawn import render, scene

    assert _settings is not None
    one = scene.sample(_catalogue[task.label], task.seed, _settings)
    pixels, labels = render.image_and_mask(one, _settings.image_px)
    return _Drawn(
        task,
        render.finish(pixels, one),
        mask_png(labels, len(one.parts)),
        visible_box(labels),
        one.nuisances,
    )


def mask_png(labels: np.ndarray, count: int) -> bytes:
    """Labels uint8 (n, n) as an indexed PNG whose colours tell `count` parts apart."""
    image = Image.fromarray(labels, "P")
    colours = [colorsys.hsv_to_rgb(i * 0.618 % 1, 0.8, 1 - 0.2 * (i % 3)) for i in range(count)]
    image.putpalette([0, 0, 0, *[round(255 * value) for colour in colours for value in colour]])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def visible_box(labels: np.ndarray) -> tuple[int, int, int, int] | None:
    """xmin, ymin, xmax, ymax around all labels above 0, or None where there is none."""
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _csv(rows: list[dict]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
