"""Images of chimeras, rendered once and kept on disk as plain arrays.

Creatures are numbered: those of one family of look-alikes stand next to one another. View v of the
menagerie is one image of every creature, in the file `view-<v>.npy`, uint8 (creatures, S, S, 3);
views are made by processes in the background and can be read as soon as each is there.
"""

import hashlib
import json
import os
import random
import time
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np

from pokecam.commands.pretrain import photograph
from pokecam.commands.pretrain.anatomy import TABLES
from pokecam.commands.pretrain.chimera import Genome, Look, creature, family
from pokecam.common.files import whole_file
from pokecam.data.drawn import render, scene
from pokecam.data.drawn.nuisances import DrawnSettings

NICENESS = 10  # rendering gives way to training on a machine with few cores


@dataclass(frozen=True)
class Menagerie:
    """Which creatures, how often and how large.

    families × members   creatures         views   images of each
    size_px              side of an image seed    of everything
    """

    families: int
    members: int
    views: int
    size_px: int
    seed: int
    settings: DrawnSettings

    @property
    def creatures(self) -> int:
        return self.families * self.members

    def summary(self) -> dict:
        """Everything that decides the images, as plain values."""
        return asdict(self) | {"settings": self.settings.model_dump(mode="json")}

    @property
    def key(self) -> str:
        """Short hash of everything that decides the images but their number."""
        text = json.dumps(self.summary() | {"views": 0}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def genomes(self) -> list[Genome]:
        numbers = range(self.families)
        return [g for i in numbers for g in family(self.seed * 1_000_003 + i, self.members)]

    def traits(self) -> tuple[np.ndarray, list[int]]:
        """Kinds of every creature's organs as numbers, int64 (creatures, organs), and how many
        kinds each organ comes in."""
        kinds = {organ: list(table) for organ, table in TABLES.items()}
        rows = [
            [kinds[organ].index(genome.kinds[organ]) for organ in TABLES]
            for genome in self.genomes()
        ]
        return np.array(rows, np.int64), [len(table) for table in TABLES.values()]

    def image(self, number: int, genome: Genome, view: int) -> np.ndarray:
        """One image, uint8 (S, S, 3)."""
        rng = random.Random(f"{self.seed} {number} {view}")
        drawn = creature(genome, Look.random(rng))
        one = scene.sample(drawn, rng.getrandbits(40), self.settings)
        pixels, labels = render.image_and_mask(one, self.size_px)
        return photograph.retouch(render.add_noise(pixels, one), labels, rng)


def contact_sheet(menagerie: Menagerie, families: int, views: int) -> np.ndarray:
    """The first families, one a row, each member in its first views: uint8 (h, w, 3)."""
    genomes = menagerie.genomes()[: families * menagerie.members]
    images = [menagerie.image(i, g, v) for i, g in enumerate(genomes) for v in range(views)]
    grid = np.stack(images).reshape(families, -1, *images[0].shape)  # (rows, columns, S, S, 3)
    return grid.transpose(0, 2, 1, 3, 4).reshape(families * menagerie.size_px, -1, 3)


def view_path(folder: Path, view: int) -> Path:
    return folder / f"view-{view:03d}.npy"


def render_view(menagerie: Menagerie, folder: Path, view: int) -> None:
    """Write one view, unless it is there already."""
    path = view_path(folder, view)
    if path.exists():
        return
    images = [menagerie.image(i, g, view) for i, g in enumerate(menagerie.genomes())]
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(images))


def start_rendering(menagerie: Menagerie, folder: Path, workers: int) -> Pool:
    """Render every missing view in `workers` processes in the background, first views first."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = get_context("spawn").Pool(workers, initializer=os.nice, initargs=(NICENESS,))
    for view in range(menagerie.views):
        pool.apply_async(
            render_view, (menagerie, folder, view), error_callback=_Failures(folder).note
        )
    return pool


@dataclass
class _Failures:
    """Leaves word in the folder when a view could not be made: the reader waits for it."""

    folder: Path

    def note(self, error: BaseException) -> None:
        (self.folder / "failed.txt").write_text(f"{type(error).__name__}: {error}\n")


def wait_for_view(folder: Path, view: int, pause_s: float = 0.5) -> np.ndarray:
    """The images of a view, memory-mapped, as soon as they are there.

    Raises `RuntimeError` if the processes that render have failed.
    """
    path = view_path(folder, view)
    while not path.exists():
        failed = folder / "failed.txt"
        if failed.exists():
            raise RuntimeError(f"rendering failed: {failed.read_text().strip()}")
        time.sleep(pause_s)
    return np.load(path, mmap_mode="r")
