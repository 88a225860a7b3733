"""Images and part masks of scenes, painted by Matplotlib's Agg renderer.

    scene = sample(species, seed, settings)            # pokecam.data.drawn.scene
    pixels = image(scene, 256)                       # uint8 (256, 256, 3), no noise yet
    labels = mask(scene, 256)                          # uint8 (256, 256), 0 or the part's index
    pixels, labels = image_and_mask(scene, 256)      # both, cheaper than one after the other
    jpeg = finish(pixels, scene)                       # bytes, with the scene's noise

Agg computes the covered area of every pixel exactly and without instructions that differ between
processors. Whatever else touches pixels here is integer arithmetic or single additions and
multiplications, so the same scene gives the same pixels on any x86-64 machine.
"""

import io
import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.transforms import Affine2D
from PIL import Image

from pokecam.data.drawn.nuisances import stream
from pokecam.data.drawn.pencil import CANVAS, Item
from pokecam.data.drawn.scene import Box, Light, PartDrawing, Scene, Surface


def image(scene: Scene, size_px: int, without: frozenset[str] = frozenset()) -> np.ndarray:
    """The scene as uint8 (size_px, size_px, 3), before noise and JPEG.

    Leaving out the parts named in `without` changes no pixel that they do not touch.
    """
    return _image(scene, size_px, without, None)


def mask(scene: Scene, size_px: int, without: frozenset[str] = frozenset()) -> np.ndarray:
    """Index of the part seen at each pixel, uint8 (size_px, size_px); 0 where there is none.

    A part holds a pixel if it covers at least half of it and nothing later, part or thing in
    front, covers half of it too. Indices count the parts of the species from 1.
    """
    return _enlarge(_labels(scene, _grid_px(scene, size_px), without), size_px)


def image_and_mask(
    scene: Scene, size_px: int, without: frozenset[str] = frozenset()
) -> tuple[np.ndarray, np.ndarray]:
    """What `image` and `mask` give."""
    labels = _labels(scene, _grid_px(scene, size_px), without)
    return _image(scene, size_px, without, labels), _enlarge(labels, size_px)


def coverage(scene: Scene, size_px: int, part: str) -> np.ndarray:
    """Opacity of one part drawn alone, uint8 (size_px, size_px): above 0 wherever it touches."""
    canvas = _Canvas(_grid_px(scene, size_px))
    for drawing in scene.parts:
        if drawing.name == part:
            canvas.paint(drawing.items)
    return _enlarge(canvas.pixels[..., 3], size_px)


def finish(pixels: np.ndarray, scene: Scene) -> bytes:
    """Add the scene's noise to `pixels` and return them as JPEG of the scene's quality."""
    buffer = io.BytesIO()
    Image.fromarray(add_noise(pixels, scene)).save(
        buffer, "JPEG", quality=scene.nuisances.jpeg_quality
    )
    return buffer.getvalue()


def add_noise(pixels: np.ndarray, scene: Scene) -> np.ndarray:
    """Pixels with the scene's noise, the same for any set of parts left out.

    The noise is a piece of one large field, its place decided by the seed.
    """
    field = _noise_field()
    high, wide = pixels.shape[:2]
    rng = stream(scene.nuisances.seed, "noise")
    top, left = rng.randrange(len(field) - high + 1), rng.randrange(len(field) - wide + 1)
    factor = np.int32(round(scene.nuisances.noise * 64))
    noise = field[top : top + high, left : left + wide] * factor + 1024 >> 11
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _noise_field() -> np.ndarray:
    """Independent values with a triangular distribution, int16 (1280, 1280, 3), deviation 32."""
    shape = (2, 1280, 1280, 3)
    uniform = np.frombuffer(stream(0, "noise field").randbytes(math.prod(shape)), np.uint8)
    # the sum of two uniform bytes has a standard deviation of 104.5
    first, second = uniform.reshape(shape).astype(np.int16)
    return ((first + second - 255) * 10 >> 5).astype(np.int16)


class _Canvas:
    """A square of pixels that items are painted on; row 0 is the top."""

    def __init__(self, size_px: int) -> None:
        self._renderer = RendererAgg(size_px, size_px, 72)
        self._scale = size_px / CANVAS
        self._to_pixels = Affine2D().scale(self._scale)
        # Agg's y axis points up, the canvas's down: paint upside down, look at it turned over
        self.pixels = np.asarray(self._renderer.buffer_rgba())[::-1]
        self._gc = self._renderer.new_gc()
        self._gc.set_snap(False)
        self._gc.set_joinstyle("round")

    def paint(self, items: Iterable[Item]) -> None:
        gc, scale = self._gc, self._scale
        for item in items:
            if item.line is None:
                gc.set_linewidth(0)
            else:
                gc.set_linewidth(item.width * scale)
                gc.set_foreground(item.line, isRGBA=True)
                gc.set_capstyle(item.cap)
                gc.set_dashes(0, [length * scale for length in item.dash] if item.dash else None)
            self._renderer.draw_path(gc, item.path, self._to_pixels, item.fill)


def _image(
    scene: Scene, size_px: int, without: frozenset[str], labels: np.ndarray | None
) -> np.ndarray:
    grid_px = _grid_px(scene, size_px)
    canvas = _Canvas(grid_px)
    canvas.pixels[...] = _upsample(scene.base, grid_px)
    canvas.paint(scene.behind)
    for part in _kept(scene, without):
        canvas.paint(part.items)
    canvas.paint(scene.front)
    if scene.surface is not None and labels is None:
        labels = _labels(scene, grid_px, without)
    pixels = _lit(canvas.pixels[..., :3], _brightness(scene, grid_px, labels), scene.light)
    if scene.blocks is not None:
        pixels = (pixels & 0xF0) | 0x08
    return _enlarge(pixels, size_px)


def _kept(scene: Scene, without: frozenset[str]) -> list[PartDrawing]:
    unknown = without - {part.name for part in scene.parts}
    if unknown:
        raise KeyError(f"no such part: {', '.join(sorted(unknown))}")
    return [part for part in scene.parts if part.name not in without]


def _grid_px(scene: Scene, size_px: int) -> int:
    """Side of the image that is really painted: fewer pixels for the pixelated style."""
    return size_px if scene.blocks is None else min(size_px, scene.blocks)


def _labels(scene: Scene, grid_px: int, without: frozenset[str]) -> np.ndarray:
    """Index of the topmost part with at least half of the pixel, uint8 (grid_px, grid_px)."""
    canvas = _Canvas(grid_px)
    labels = np.zeros((grid_px, grid_px), np.uint8)
    index = {part.name: i for i, part in enumerate(scene.parts, 1)}
    layers = [(index[part.name], part.items, part.box) for part in _kept(scene, without)]
    everywhere = (0.0, 0.0, CANVAS, CANVAS)
    for label, items, box in [*layers, *((0, [item], everywhere) for item in scene.front)]:
        window = _window(box, grid_px)
        canvas.paint(items)
        opacity = canvas.pixels[window][..., 3]
        labels[window][opacity > 127] = label
        opacity[...] = 0
    return labels


def _window(box: Box, grid_px: int) -> tuple[slice, slice]:
    """Rows and columns of the pixels that a box on the canvas touches."""
    left, top, right, bottom = (round(edge * grid_px / CANVAS) for edge in box)
    return slice(max(0, top - 1), max(0, bottom + 2)), slice(max(0, left - 1), max(0, right + 2))


def _brightness(scene: Scene, grid_px: int, labels: np.ndarray | None) -> np.ndarray:
    """How bright the light makes each pixel: float32 (grid_px, grid_px), 1 is neutral."""
    centres = _centres(grid_px) / np.float32(CANVAS / 2) - np.float32(1)
    across, down = (centres * np.float32(part) for part in (scene.light.across, scene.light.down))
    light = across[None, :] + (down[:, None] + np.float32(1))
    if scene.surface is None:
        return light
    assert labels is not None
    return light * _volume(labels, scene, scene.surface)


def _volume(labels: np.ndarray, scene: Scene, surface: Surface) -> np.ndarray:
    """Brightness that volume and texture give each pixel: float32 (n, n), 1 where no part is.

    At (u, v), the place in the part's box from −1 to 1: 1 + a (u lx + v ly) − r (u² + v²), l
    towards the light; each part by itself, small parts flatter.
    """
    centres = _centres(len(labels))
    bulge = np.zeros(labels.shape, np.float32)
    for label, part in enumerate(scene.parts, 1):
        rows, columns = _window(part.box, len(labels))
        left, top, right, bottom = part.box
        wide, high = max(right - left, 4.0), max(bottom - top, 4.0)
        depth = min(1.0, min(wide, high) / 30)
        u = (centres[columns] - np.float32((left + right) / 2)) * np.float32(2 / wide)
        v = (centres[rows] - np.float32((top + bottom) / 2)) * np.float32(2 / high)
        across = u * np.float32(depth * surface.slope * surface.light_x)
        down = v * np.float32(depth * surface.slope * surface.light_y)
        across -= u * u * np.float32(depth * surface.rim)
        down -= v * v * np.float32(depth * surface.rim)
        here = labels[rows, columns] == label
        np.copyto(bulge[rows, columns], across[None, :] + down[:, None], where=here)
    if surface.steps:
        bulge = np.where(bulge < -0.12, np.float32(-0.26), np.float32(0.04))
    if surface.hatch:
        lines = (centres[None, :] + centres[:, None]) % np.float32(6) < 2
        bulge = np.where(lines & (bulge < -0.1), np.float32(-0.28), np.float32(0))
    if surface.texture is not None:
        places = (centres / 2).astype(np.intp) % len(surface.texture)
        bulge = bulge + surface.texture[places][:, places]
    return np.where(labels == 0, np.float32(1), bulge + np.float32(1))


def _centres(size_px: int) -> np.ndarray:
    """Canvas coordinates of the pixels' centres, float32 (size_px,)."""
    return ((np.arange(size_px) + 0.5) * (CANVAS / size_px)).astype(np.float32)


def _lit(pixels: np.ndarray, brightness: np.ndarray, light: Light) -> np.ndarray:
    """Pixels uint8 (n, n, 3) under light of this brightness (n, n) and colour."""
    level = np.clip(np.rint(brightness * np.float32(128)), 0, 255).astype(np.uint16)
    lit = np.empty_like(pixels, order="C")
    for channel, tone in enumerate(light.tones):  # one at a time: rows of three are slow
        factor = np.minimum(level * np.uint16(tone) >> 7, 256)
        lit[..., channel] = np.minimum(pixels[..., channel] * factor >> 7, 255)
    return lit


def _upsample(grid: np.ndarray, size_px: int) -> np.ndarray:
    """A coarse uint8 (k, k, 3) as opaque uint8 (size_px, size_px, 4), bilinear."""
    opaque = np.concatenate([grid, np.full_like(grid[..., :1], 255)], axis=2)
    if len(grid) == 1:
        return opaque
    last = len(grid) - 0.5  # from the middle of the first cell to that of the last
    box = (0.5, 0.5, last, last)
    coarse = Image.fromarray(opaque)
    return np.asarray(coarse.resize((size_px, size_px), Image.Resampling.BILINEAR, box))


def _enlarge(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """(n, n, …) as (size_px, size_px, …), every pixel from the nearest."""
    if len(pixels) == size_px:
        return np.ascontiguousarray(pixels)
    nearest = np.arange(size_px) * len(pixels) // size_px
    return pixels[nearest][:, nearest]
