"""Images of chimeras, which are rendered once and kept on disk as plain arrays.

Creatures are numbered. Look-alikes, the members of one family, have consecutive numbers. View v of
the menagerie is one image of every creature, in the file `view-<v>.npy`, uint8 (creatures, S, S,
3). Processes in the background render the views. Each can be read as soon as it is written.
"""

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pokecam.commands.pretrain import photograph
from pokecam.commands.pretrain.anatomy import TABLES
from pokecam.commands.pretrain.chimera import Genome, Look, creature, family
from pokecam.common.files import whole_file
from pokecam.common.processes import processes
from pokecam.data.drawn import render, scene
from pokecam.data.drawn.nuisances import DrawnSettings

NICENESS = 10  # on a machine with few cores, training has priority over rendering


@dataclass(frozen=True)
class Menagerie:
    """The creatures of a pretraining, and how they are rendered.

    Attributes:
        families: how many families of look-alikes.
        members: how many creatures a family has.
        views: how many images of each creature.
        size_px: side S of an image.
        seed: of everything random.
        settings: of the scenes.
    """

    families: int
    members: int
    views: int
    size_px: int
    seed: int
    settings: DrawnSettings

    @property
    def n_creatures(self) -> int:
        """How many creatures there are."""
        return self.families * self.members

    def summary(self) -> dict:
        """Return everything that decides the images, as plain values."""
        return asdict(self) | {"settings": self.settings.model_dump(mode="json")}

    @property
    def key(self) -> str:
        """A short hash of everything that decides the images, but not of their number."""
        text = json.dumps(self.summary() | {"views": 0}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def genomes(self) -> list[Genome]:
        """Return the genomes of all creatures, by number."""
        return [
            genome
            for number in range(self.families)
            for genome in family(self.seed * 1_000_003 + number, self.members)
        ]

    def traits(self) -> tuple[np.ndarray, list[int]]:
        """Return the kinds of the organs of all creatures.

        Returns:
            (creatures, organs) int64, and how many kinds each organ has.
        """
        kinds = {organ: list(table) for organ, table in TABLES.items()}
        rows = [
            [kinds[organ].index(genome.kinds[organ]) for organ in TABLES]
            for genome in self.genomes()
        ]
        return np.array(rows, np.int64), [len(table) for table in TABLES.values()]

    def image(self, number: int, genome: Genome, view: int) -> np.ndarray:
        """Render one image of a creature, uint8 (S, S, 3)."""
        rng = random.Random(f"{self.seed} {number} {view}")
        species = creature(genome, Look.random(rng))
        sampled = scene.sample(species, rng.getrandbits(40), self.settings)
        pixels, labels = render.image_and_mask(sampled, self.size_px)
        return photograph.retouch(render.add_noise(pixels, sampled), labels, rng)


def contact_sheet(menagerie: Menagerie, families: int, views: int) -> np.ndarray:
    """Render the first families, one in each row, every member in its first views.

    Returns:
        uint8 (families · S, members · views · S, 3).
    """
    genomes = menagerie.genomes()[: families * menagerie.members]
    images = [
        menagerie.image(number, genome, view)
        for number, genome in enumerate(genomes)
        for view in range(views)
    ]
    grid = np.stack(images).reshape(families, -1, *images[0].shape)  # (rows, columns, S, S, 3)
    return grid.transpose(0, 2, 1, 3, 4).reshape(families * menagerie.size_px, -1, 3)


def view_path(folder: Path, view: int) -> Path:
    """Return the file of a view."""
    return folder / f"view-{view:03d}.npy"


def render_view(menagerie: Menagerie, folder: Path, view: int) -> None:
    """Write one view, unless its file exists."""
    path = view_path(folder, view)
    if path.exists():
        return
    images = [
        menagerie.image(number, genome, view) for number, genome in enumerate(menagerie.genomes())
    ]
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(images))


@contextmanager
def rendering(
    menagerie: Menagerie, folder: Path, workers: int
) -> Iterator[Callable[[int], np.ndarray]]:
    """Render all missing views in the background, in their order.

    Args:
        menagerie: the creatures.
        folder: where the views are written.
        workers: how many processes render.

    Yields:
        A function that waits until a view is written, and returns its images, memory-mapped. It
        raises the error of the process that renders the view.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with processes(workers, os.nice, NICENESS) as pool:
        views = [
            pool.submit(render_view, menagerie, folder, view) for view in range(menagerie.views)
        ]

        def images_of(view: int) -> np.ndarray:
            views[view].result()
            return np.load(view_path(folder, view), mmap_mode="r")

        yield images_of
