"""Images and masks of scenes, painted by the Agg renderer of Matplotlib.

    scene = sample(species, seed, settings)      # pokecam.data.drawn.scene
    pixels = image(scene, 256)                   # uint8 (256, 256, 3), without noise
    labels = mask(scene, 256)                    # uint8 (256, 256), 0 or the number of a part
    pixels, labels = image_and_mask(scene, 256)  # both, in less time than one after the other
    jpeg = finish(pixels, scene)                 # bytes, with the noise of the scene

The same scene gives the same pixels on every x86-64 machine. Agg computes the covered area of every
pixel exactly and without instructions that differ between processors. All other operations on
pixels are integer arithmetic, or single additions and multiplications.
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
    """Render the image of a scene, before noise and JPEG.

    Args:
        scene: what to render.
        size_px: side of the image.
        without: the names of parts that are left out. Pixels that they do not touch stay the same.

    Returns:
        uint8 (size_px, size_px, 3).

    Raises:
        KeyError: the creature has no part of a name in `without`.
    """
    return _render_image(scene, size_px, without, None)


def mask(scene: Scene, size_px: int, without: frozenset[str] = frozenset()) -> np.ndarray:
    """Render the mask of a scene: which part is visible at each pixel.

    A pixel belongs to the last part that covers at least half of it, unless an item in front of
    the creature covers half of it too.

    Args:
        scene: what to render.
        size_px: side of the mask.
        without: the names of parts that are left out.

    Returns:
        uint8 (size_px, size_px): the number of the part, counted from 1 in the order of the
        species, or 0 where no part is visible.

    Raises:
        KeyError: the creature has no part of a name in `without`.
    """
    return _enlarge(_render_labels(scene, _grid_px(scene, size_px), without), size_px)


def image_and_mask(
    scene: Scene, size_px: int, without: frozenset[str] = frozenset()
) -> tuple[np.ndarray, np.ndarray]:
    """Render what `image` and `mask` return."""
    labels = _render_labels(scene, _grid_px(scene, size_px), without)
    return _render_image(scene, size_px, without, labels), _enlarge(labels, size_px)


def finish(pixels: np.ndarray, scene: Scene) -> bytes:
    """Add the noise of a scene to its image, and encode it as JPEG in the quality of the scene.

    Args:
        pixels: uint8 (H, W, 3), as `image` returns it.
        scene: the scene.

    Returns:
        The bytes of the file.
    """
    buffer = io.BytesIO()
    Image.fromarray(add_noise(pixels, scene)).save(
        buffer, "JPEG", quality=scene.nuisances.jpeg_quality
    )
    return buffer.getvalue()


def add_noise(pixels: np.ndarray, scene: Scene) -> np.ndarray:
    """Add the noise of a scene to its image.

    The noise is a window of one large field. The seed decides where the window is, so that the
    noise does not depend on the parts that are left out.

    Args:
        pixels: uint8 (H, W, 3), as `image` returns it; H and W are at most 1280.
        scene: the scene.

    Returns:
        uint8 (H, W, 3).
    """
    field = _noise_field()
    height, width = pixels.shape[:2]
    rng = stream(scene.nuisances.seed, "noise")
    top, left = rng.randrange(len(field) - height + 1), rng.randrange(len(field) - width + 1)
    factor = np.int32(round(scene.nuisances.noise * 64))
    noise = field[top : top + height, left : left + width] * factor + 1024 >> 11
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _noise_field() -> np.ndarray:
    """Return independent values with a triangular distribution and a standard deviation of 32.

    int16 (1280, 1280, 3).
    """
    shape = (2, 1280, 1280, 3)
    uniform = np.frombuffer(stream(0, "noise field").randbytes(math.prod(shape)), np.uint8)
    # The sum of two uniform bytes has a standard deviation of 104.5.
    first, second = uniform.reshape(shape).astype(np.int16)
    return ((first + second - 255) * 10 >> 5).astype(np.int16)


class _Canvas:
    """A square of pixels that items are painted on.

    Attributes:
        pixels: uint8 (size_px, size_px, 4), red, green, blue, opacity; row 0 is the top.
    """

    def __init__(self, size_px: int) -> None:
        self._renderer = RendererAgg(size_px, size_px, 72)
        self._scale = size_px / CANVAS
        self._to_pixels = Affine2D().scale(self._scale)
        # The y axis points up in Agg and down here: items are painted upside down, and `pixels`
        # views the rows in reverse.
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


def _render_image(
    scene: Scene, size_px: int, without: frozenset[str], labels: np.ndarray | None
) -> np.ndarray:
    """Render an image; `labels` are those of `_render_labels`, or None to render them if needed."""
    grid_px = _grid_px(scene, size_px)
    canvas = _Canvas(grid_px)
    canvas.pixels[...] = _upsample(scene.base, grid_px)
    canvas.paint(scene.behind)
    for part in _remaining_parts(scene, without):
        canvas.paint(part.items)
    canvas.paint(scene.front)
    if scene.surface is not None and labels is None:
        labels = _render_labels(scene, grid_px, without)
    pixels = _illuminate(canvas.pixels[..., :3], _brightness(scene, grid_px, labels), scene.light)
    if scene.blocks is not None:
        pixels = (pixels & 0xF0) | 0x08
    return _enlarge(pixels, size_px)


def _remaining_parts(scene: Scene, without: frozenset[str]) -> list[PartDrawing]:
    unknown = without - {part.name for part in scene.parts}
    if unknown:
        raise KeyError(f"no such part: {', '.join(sorted(unknown))}")
    return [part for part in scene.parts if part.name not in without]


def _grid_px(scene: Scene, size_px: int) -> int:
    """Return the side of the image that is painted: fewer pixels for the pixelated style."""
    return size_px if scene.blocks is None else min(size_px, scene.blocks)


def _render_labels(scene: Scene, grid_px: int, without: frozenset[str]) -> np.ndarray:
    """Render the mask that `mask` describes, in the pixels that are painted.

    uint8 (grid_px, grid_px).
    """
    canvas = _Canvas(grid_px)
    labels = np.zeros((grid_px, grid_px), np.uint8)
    numbers = {part.name: i for i, part in enumerate(scene.parts, 1)}
    parts = _remaining_parts(scene, without)
    layers = [(numbers[part.name], part.items, part.box) for part in parts]
    whole_canvas = (0.0, 0.0, CANVAS, CANVAS)
    for label, items, box in [*layers, *((0, [item], whole_canvas) for item in scene.front)]:
        window = _window(box, grid_px)
        canvas.paint(items)
        opacity = canvas.pixels[window][..., 3]
        labels[window][opacity > 127] = label
        opacity[...] = 0
    return labels


def _window(box: Box, grid_px: int) -> tuple[slice, slice]:
    """Return the rows and columns of the pixels that a box on the canvas touches."""
    left, top, right, bottom = (round(edge * grid_px / CANVAS) for edge in box)
    return slice(max(0, top - 1), max(0, bottom + 2)), slice(max(0, left - 1), max(0, right + 2))


def _brightness(scene: Scene, grid_px: int, labels: np.ndarray | None) -> np.ndarray:
    """Return the brightness of each pixel, float32 (grid_px, grid_px); 1 is neutral."""
    centres = _centres(grid_px) / np.float32(CANVAS / 2) - np.float32(1)
    across = centres * np.float32(scene.light.across)
    down = centres * np.float32(scene.light.down)
    light = across[None, :] + (down[:, None] + np.float32(1))
    if scene.surface is None:
        return light
    assert labels is not None
    return light * _volume(labels, scene, scene.surface)


def _volume(labels: np.ndarray, scene: Scene, surface: Surface) -> np.ndarray:
    """Return the factor that volume and texture contribute to the brightness of each pixel.

    For each part it is 1 + a (u lx + v ly) − r (u² + v²). (u, v) is the position in the box of the
    part, from −1 to 1, and (lx, ly) points to the light. a and r are smaller for small parts.

    Args:
        labels: (n, n), as `_render_labels` returns them.
        scene: the scene.
        surface: its surface.

    Returns:
        float32 (n, n), 1 where no part is visible.
    """
    centres = _centres(len(labels))
    bulge = np.zeros(labels.shape, np.float32)
    for label, part in enumerate(scene.parts, 1):
        rows, columns = _window(part.box, len(labels))
        left, top, right, bottom = part.box
        width, height = max(right - left, 4.0), max(bottom - top, 4.0)
        depth = min(1.0, min(width, height) / 30)
        u = (centres[columns] - np.float32((left + right) / 2)) * np.float32(2 / width)
        v = (centres[rows] - np.float32((top + bottom) / 2)) * np.float32(2 / height)
        across = u * np.float32(depth * surface.slope * surface.light_x)
        down = v * np.float32(depth * surface.slope * surface.light_y)
        across -= u * u * np.float32(depth * surface.rim)
        down -= v * v * np.float32(depth * surface.rim)
        is_part = labels[rows, columns] == label
        np.copyto(bulge[rows, columns], across[None, :] + down[:, None], where=is_part)
    if surface.steps:
        bulge = np.where(bulge < -0.12, np.float32(-0.26), np.float32(0.04))
    if surface.hatch:
        lines = (centres[None, :] + centres[:, None]) % np.float32(6) < 2
        bulge = np.where(lines & (bulge < -0.1), np.float32(-0.28), np.float32(0))
    if surface.texture is not None:
        indices = (centres / 2).astype(np.intp) % len(surface.texture)
        bulge = bulge + surface.texture[indices][:, indices]
    return np.where(labels == 0, np.float32(1), bulge + np.float32(1))


def _centres(size_px: int) -> np.ndarray:
    """Return the canvas coordinates of the centres of the pixels, float32 (size_px,)."""
    return ((np.arange(size_px) + 0.5) * (CANVAS / size_px)).astype(np.float32)


def _illuminate(pixels: np.ndarray, brightness: np.ndarray, light: Light) -> np.ndarray:
    """Multiply pixels (n, n, 3) by the brightness (n, n) and the colour of the light."""
    level = np.clip(np.rint(brightness * np.float32(128)), 0, 255).astype(np.uint16)
    result = np.empty_like(pixels, order="C")
    for channel, tone in enumerate(light.tones):  # by channel: operations on rows of three are slow
        factor = np.minimum(level * np.uint16(tone) >> 7, 256)
        result[..., channel] = np.minimum(pixels[..., channel] * factor >> 7, 255)
    return result


def _upsample(grid: np.ndarray, size_px: int) -> np.ndarray:
    """Upsample colours uint8 (k, k, 3) to opaque uint8 (size_px, size_px, 4), bilinearly."""
    opaque = np.concatenate([grid, np.full_like(grid[..., :1], 255)], axis=2)
    if len(grid) == 1:
        return opaque
    last = len(grid) - 0.5  # from the centre of the first cell to that of the last
    box = (0.5, 0.5, last, last)
    coarse = Image.fromarray(opaque)
    return np.asarray(coarse.resize((size_px, size_px), Image.Resampling.BILINEAR, box))


def _enlarge(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """Enlarge (n, n, …) to (size_px, size_px, …) by nearest neighbour."""
    if len(pixels) == size_px:
        return np.ascontiguousarray(pixels)
    nearest = np.arange(size_px) * len(pixels) // size_px
    return pixels[nearest][:, nearest]
