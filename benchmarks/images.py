"""The images that benchmarks of networks use: files with their classes and groups."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from pokecam.data.drawn import nuisances, render, scene, species  # noqa: E402
from pokecam.data.packed.letterbox import fit, letterbox  # noqa: E402
from pokecam.data.sources.drawn import image_seed  # noqa: E402

REAL = PROJECT.parent / "shared" / "real"
IMAGENET = REAL / "weights" / "mobilenet_v2-from-tf2-int8.pth"


@dataclass(frozen=True)
class Files:
    """N images: JPEG bytes, class names, and numbers that near-duplicates share."""

    jpegs: list[bytes]
    labels: np.ndarray  # (N,) str
    groups: np.ndarray  # (N,) int


def drawn(draw_seed: int, per_class: int) -> Files:
    """The default classes of params.yaml, as the drawn source draws them."""
    settings = nuisances.read_settings(PROJECT / "datasets" / "drawn.yaml")
    catalogue = species.catalogue()
    classes = yaml.safe_load((PROJECT / "params.yaml").read_text())["classes"]
    jpegs = []
    for label in classes:
        for index in range(per_class):
            one = scene.sample(catalogue[label], image_seed(draw_seed, label, index), settings)
            jpegs.append(render.finish(render.image(one, settings.image_px), one))
    labels = np.repeat(classes, per_class)
    return Files(jpegs, labels, np.arange(len(labels)))


def real() -> Files:
    """../shared/real/pokemon10 with its near-duplicate groups."""
    table = pd.read_csv(REAL / "pokemon10-groups.tsv", sep="\t")
    jpegs = [(REAL / "pokemon10" / file).read_bytes() for file in table.file]
    return Files(jpegs, table.file.str.split("/").str[0].to_numpy(), table.group.to_numpy())


def square(jpeg: bytes, size_px: int) -> np.ndarray:
    """The whole image in a square, as `select` packs it: uint8 (S, S, 3)."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    return letterbox(image, fit(*image.size, size_px))[1]
