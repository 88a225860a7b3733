"""The images that benchmarks of networks use: files with their classes and groups."""

import io
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from pokecam.commands.pretrain.pretrain import shipped_menagerie
from pokecam.data.drawn import nuisances, render, scene, species
from pokecam.data.packed.letterbox import fit, letterbox
from pokecam.data.sources.drawn import image_seed
from support import PROJECT

REAL = PROJECT.parent / "shared" / "real"
IMAGENET = REAL / "weights" / "mobilenet_v2-from-tf2-int8.pth"


@dataclass(frozen=True)
class Files:
    """N images: JPEG bytes, class names, and numbers that near-duplicates share."""

    jpegs: list[bytes]
    labels: np.ndarray  # (N,) str
    groups: np.ndarray  # (N,) int


def default_classes() -> list[str]:
    """Return the classes of params.yaml."""
    return yaml.safe_load((PROJECT / "params.yaml").read_text())["classes"]


def drawn(draw_seed: int, per_class: int, classes: Sequence[str] | None = None) -> Files:
    """Return images of classes, by default those of params.yaml, as the drawn source draws them."""
    settings = nuisances.read_settings(PROJECT / "datasets" / "drawn.yaml")
    catalogue = species.catalogue()
    classes = classes or default_classes()
    jpegs = []
    for label in classes:
        for index in range(per_class):
            seed = image_seed(draw_seed, label, index)
            sampled = scene.sample(catalogue[label], seed, settings)
            jpegs.append(render.finish(render.image(sampled, settings.image_px), sampled))
    labels = np.repeat(classes, per_class)
    return Files(jpegs, labels, np.arange(len(labels)))


def real() -> Files:
    """Return the images of ../shared/real/pokemon10 with their groups of near-duplicates."""
    table = pd.read_csv(REAL / "pokemon10-groups.tsv", sep="\t")
    jpegs = [(REAL / "pokemon10" / file).read_bytes() for file in table.file]
    return Files(jpegs, table.file.str.split("/").str[0].to_numpy(), table.group.to_numpy())


def square(jpeg: bytes, size_px: int) -> np.ndarray:
    """Letterbox an image as `select` does: uint8 (S, S, 3)."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    return letterbox(image, fit(*image.size, size_px))[1]


def chimeras(folder: Path, classes: int, per_class: int) -> Path:
    """Write JPEG files of chimeras, unless they exist, in class folders, and return the folder."""
    with ProcessPoolExecutor() as pool:
        tasks = [(folder, number, per_class, 256) for number in range(classes)]
        list(pool.map(_draw_chimera, tasks))
    return folder


def _draw_chimera(task: tuple[Path, int, int, int]) -> None:
    """Write the images of one creature: (folder, number, how many images, their side)."""
    folder, number, n_images, size_px = task
    menagerie = shipped_menagerie()
    genome = menagerie.genomes()[number]
    target = folder / f"creature{number:03d}"
    target.mkdir(parents=True, exist_ok=True)
    for view in range(n_images):
        path = target / f"{view:03d}.jpg"
        if not path.exists():
            image = Image.fromarray(menagerie.image(number, genome, view))
            image.resize((size_px, size_px), Image.Resampling.BICUBIC).save(path, quality=90)
