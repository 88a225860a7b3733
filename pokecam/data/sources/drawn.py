"""The drawn Pokédex as a source: many images of each species, and where its parts are.

Members of raw.zip, beside the images (`images/<Species>/<number>.jpg`):

    masks/<Species>/<number>.jpg.png   indexed PNG, 0 = no part, i = the part with index i
    parts.csv                     label,index,part
    boxes.csv                     image,label,xmin,ymin,xmax,ymax: the box around the visible parts,
                                  in pixels; xmax and ymax are the first column and row beyond it
    scenes.csv                    image,label,seed and all other sampled values
    scenes/                       the settings and the species, to render a scene again
"""

import colorsys
import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from pokecam.common import running
from pokecam.common.processes import processes

if TYPE_CHECKING:
    from pokecam.data.drawn.nuisances import DrawnSettings, Nuisances
    from pokecam.data.drawn.species import Species

# Starting a process takes as long as drawing about 100 images.
_IMAGES_PER_PROCESS = 200
_CHUNK = 16  # images that a process receives at once


class _Task(NamedTuple):
    """One image to draw."""

    label: str
    number: int
    seed: int


class _DrawnImage(NamedTuple):
    """One image with all that is stored of it."""

    task: _Task
    jpeg: bytes
    mask: bytes
    box: tuple[int, int, int, int] | None
    nuisances: "Nuisances"


def members(
    settings_file: Path, *, images_per_class: int, draw_seed: int, workers: int | None = None
) -> Iterator[tuple[str, bytes]]:
    """Draw the images of a catalogue of species.

    The seed of an image depends only on `draw_seed`, its species and its number. So an image does
    not change with the number of images, of species or of workers.

    Args:
        settings_file: a .yaml file with the settings and the key `catalogue`.
        images_per_class: the number of images of each species.
        draw_seed: the seed of the whole set.
        workers: the number of processes. None: up to one for each core, if there are enough images.

    Yields:
        (name in raw.zip, bytes), as described at the top of this module.

    Raises:
        InputError: the settings or a species cannot be read.
    """
    # This import takes a second, and only this source needs it.
    from pokecam.data.drawn import nuisances, species

    settings = nuisances.read_settings(settings_file)
    catalogue = species.catalogue(settings_file.parent / settings.catalogue)
    tasks = [
        _Task(label, number, image_seed(draw_seed, label, number))
        for label in catalogue
        for number in range(images_per_class)
    ]
    boxes, scenes = [], []
    for image in _draw_all(tasks, catalogue, settings, workers):
        label, name = image.task.label, f"{image.task.label}/{image.task.number:04d}"
        yield f"images/{name}.jpg", image.jpeg
        yield f"masks/{name}.jpg.png", image.mask
        columns = {"image": f"{name}.jpg", "label": label}
        if image.box is not None:
            boxes.append(
                columns | dict(zip(("xmin", "ymin", "xmax", "ymax"), image.box, strict=True))
            )
        scenes.append(columns | asdict(image.nuisances))
    parts = [
        {"label": label, "index": index, "part": part.name}
        for label, creature in catalogue.items()
        for index, part in enumerate(creature.parts, 1)
    ]
    for file, rows in (("parts", parts), ("boxes", boxes), ("scenes", scenes)):
        yield f"{file}.csv", _csv(rows)
    yield f"{nuisances.FOLDER}/{nuisances.SETTINGS_FILE}", settings_file.read_bytes()
    for path in species.files(settings_file.parent / settings.catalogue):
        yield f"{nuisances.FOLDER}/{path.name}", path.read_bytes()


def image_seed(draw_seed: int, label: str, number: int) -> int:
    """Return the seed of one image, 0 … 2**48 − 1."""
    digest = hashlib.sha256(f"{draw_seed} {label} {number}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def _draw_all(
    tasks: list[_Task],
    catalogue: "dict[str, Species]",
    settings: "DrawnSettings",
    workers: int | None,
) -> Iterator[_DrawnImage]:
    """Draw the tasks in their order, in several processes if there are enough images."""
    if workers is None:
        workers = min(running.usable_cores(), 1 + len(tasks) // _IMAGES_PER_PROCESS)
    if workers == 1:
        _prepare_process(catalogue, settings)
        yield from map(_draw, tasks)
        return
    with processes(workers, _prepare_process, catalogue, settings) as pool:
        yield from pool.map(_draw, tasks, chunksize=_CHUNK)


_catalogue: "dict[str, Species]" = {}
_settings: "DrawnSettings | None" = None


def _prepare_process(catalogue: "dict[str, Species]", settings: "DrawnSettings") -> None:
    """Store what all tasks of this process need."""
    global _catalogue, _settings
    _catalogue, _settings = catalogue, settings


def _draw(task: _Task) -> _DrawnImage:
    from pokecam.data.drawn import render
    from pokecam.data.drawn.scene import sample

    assert _settings is not None
    scene = sample(_catalogue[task.label], task.seed, _settings)
    pixels, mask = render.image_and_mask(scene, _settings.image_px)
    return _DrawnImage(
        task,
        render.finish(pixels, scene),
        mask_png(mask, len(scene.parts)),
        visible_box(mask),
        scene.nuisances,
    )


def mask_png(mask: np.ndarray, n_parts: int) -> bytes:
    """Encode a mask as an indexed PNG, in which each part has its own colour.

    Args:
        mask: (height, width) uint8, 0 or the index of a part.
        n_parts: the number of parts of the species.
    """
    image = Image.fromarray(mask, "P")
    colours = [colorsys.hsv_to_rgb(i * 0.618 % 1, 0.8, 1 - 0.2 * (i % 3)) for i in range(n_parts)]
    image.putpalette([0, 0, 0, *[round(255 * value) for colour in colours for value in colour]])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def visible_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return the box around all pixels above 0 of a mask.

    Args:
        mask: (height, width) uint8, 0 or the index of a part.

    Returns:
        xmin, ymin, xmax, ymax in pixels, or None if all pixels are 0. xmax and ymax are the first
        column and row beyond the box.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _csv(rows: list[dict]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
