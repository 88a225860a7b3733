"""Drawn images, rendered again with a change: without a part, or with that of another species."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pokecam.common.processes import processes
from pokecam.common.running import usable_cores
from pokecam.data.drawn import nuisances, render, scene, species
from pokecam.data.packed.letterbox import draft_size, fit, letterbox

if TYPE_CHECKING:  # processes that draw start without these packages
    import torch

    from pokecam.data.packed.images import Packed

DIFFERENCE_PX = 128  # side at which the drawings of two species are compared


class Redrawing:
    """Renders the images of a drawn source again, as `download` and `select` made them.

    Args:
        folder: `data/images/scenes`, the settings and species that came with the images.
        size_px: side S of the packed images.
    """

    def __init__(self, folder: Path, size_px: int) -> None:
        self.settings = nuisances.read_settings(folder / nuisances.SETTINGS_FILE)
        self.catalogue = species.catalogue(folder)
        self.size_px = size_px

    def parts(self, label: str) -> list[str]:
        """Return the parts of a species; part i has the number i + 1 in masks."""
        return [part.name for part in self.catalogue[label].parts]

    def images(self, label: str, seed: int, omitted_parts: Sequence[frozenset[str]]) -> np.ndarray:
        """Render the image of a species again, without some of its parts.

        Args:
            label: the species.
            seed: of its scene.
            omitted_parts: n sets of parts, one for each image to render.

        Returns:
            (n, S, S, 3) uint8.
        """
        drawn_scene = scene.sample(self.catalogue[label], seed, self.settings)
        return np.stack([self._render(drawn_scene, parts) for parts in omitted_parts])

    def _render(self, drawn_scene: scene.Scene, omitted_parts: frozenset[str]) -> np.ndarray:
        """Render an image, and read its JPEG as `select` does."""
        pixels = render.image(drawn_scene, self.settings.image_px, omitted_parts)
        image = Image.open(BytesIO(render.finish(pixels, drawn_scene)))
        width, height = image.size
        image.draft(image.mode, draft_size(image.size, self.size_px))
        return letterbox(image.convert("RGB"), fit(width, height, self.size_px))[1]

    def differences(self, label: str, other: str, seed: int) -> dict[str, float]:
        """Return how far each part of a species differs from the same part of another.

        Both are drawn in the same scene, at rest, with only this part. The other species shows its
        part of the same name, or nothing if it has none. They are at rest because random poses and
        tints are sampled part after part, and the species may have different numbers of parts.

        Args:
            label: the species.
            other: the species that it is compared with.
            seed: of the scene.

        Returns:
            Part → the mean over pixels of the absolute change of colour, 0 to 255.
        """
        at_rest = self.settings.model_copy(update={"swing": 0.0, "growth": 0.0, "part_colour": 0.0})
        scenes = [scene.sample(self.catalogue[name], seed, at_rest) for name in (label, other)]

        def draw_part(drawn_scene: scene.Scene, name: str) -> np.ndarray:
            omitted_parts = frozenset(part.name for part in drawn_scene.parts) - {name}
            return render.image(drawn_scene, DIFFERENCE_PX, omitted_parts).astype(int)

        differences = {}
        for name in self.parts(label):
            pixels, other_pixels = (draw_part(drawn_scene, name) for drawn_scene in scenes)
            differences[name] = float(abs(pixels - other_pixels).mean())
        return differences


@contextmanager
def open_redrawing(
    images_folder: Path, packed: "Packed", device: "torch.device"
) -> Iterator[Redrawing | None]:
    """Prepare what draws beside a network.

    Beside a GPU, all cores draw, in processes. Drawing is Python code, of which one thread of a
    process runs at a time: two threads draw 4 % more than one, and two processes 70 % more. Beside
    a network on the CPU, the cores are busy, and processes cost time (9 % of the judge stage).

    Args:
        images_folder: the folder that `select` wrote.
        packed: what it holds.
        device: where the network is.

    Yields:
        What draws, and several threads may use it; None if no image was drawn.
    """
    if packed.scenes is None:
        yield None
        return
    folder, size_px = images_folder / nuisances.FOLDER, packed.pixels.shape[1]
    if device.type == "cpu":
        yield Redrawing(folder, size_px)
        return
    with processes(usable_cores(), _prepare, folder, size_px) as pool:
        yield _InProcesses(folder, size_px, pool)


class _InProcesses(Redrawing):
    """Draws in the processes of a pool, which `_prepare` has prepared."""

    def __init__(self, folder: Path, size_px: int, pool: ProcessPoolExecutor) -> None:
        super().__init__(folder, size_px)
        self._pool = pool

    def images(self, label: str, seed: int, omitted_parts: Sequence[frozenset[str]]) -> np.ndarray:
        return self._pool.submit(_draw, "images", label, seed, omitted_parts).result()

    def differences(self, label: str, other: str, seed: int) -> dict[str, float]:
        return self._pool.submit(_draw, "differences", label, other, seed).result()


_redrawing: Redrawing  # of one of these processes


def _prepare(folder: Path, size_px: int) -> None:
    global _redrawing
    _redrawing = Redrawing(folder, size_px)


def _draw(method: str, *arguments: object) -> Any:
    return getattr(_redrawing, method)(*arguments)
