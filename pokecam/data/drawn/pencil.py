"""The styles of drawing: how one outline becomes items that are painted.

A pencil depends on the nuisances alone, and draws every outline independently of all others: a part
looks the same whatever else is drawn. The canvas is 256 units wide and high; its origin is at the
top left.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.path import Path

from pokecam.data.drawn.figures import mix
from pokecam.data.drawn.nuisances import Nuisances, stream
from pokecam.data.drawn.species import Cap, Colour

CANVAS = 256.0
WHITE: Colour = (255, 255, 255)

Rgba = tuple[float, float, float, float]  # red, green, blue and opacity, each from 0 to 1


@dataclass(frozen=True, eq=False)
class Item:
    """One outline on the canvas that is painted: filled, drawn as a line, or both.

    Attributes:
        path: the outline.
        fill: the colour of the filling, or None.
        line: the colour of the line, or None.
        width: of the line.
        dash: the lengths of dashes and of the gaps between them, or None.
        cap: the ends of the line.
    """

    path: Path
    fill: Rgba | None
    line: Rgba | None = None
    width: float = 0.0
    dash: tuple[float, float] | None = None
    cap: Cap = "butt"

    @classmethod
    def filling(
        cls, vertices: np.ndarray, codes: np.ndarray, colour: Colour, opacity: float = 1.0
    ) -> "Item":
        """Return a filling without a line."""
        return cls(Path(vertices, codes), rgba(colour, opacity))

    @classmethod
    def stroke(
        cls, vertices: np.ndarray, codes: np.ndarray, colour: Colour, width: float
    ) -> "Item":
        """Return a line with round ends and a width in units of the canvas."""
        return cls(Path(vertices, codes), None, rgba(colour), width, cap="round")


class Pencil:
    """Draws outlines in the style of one image.

    Args:
        nuisances: of the image.
        scale: the length of one unit of the drawing on the canvas. The widths of lines are
            multiplied by it.
        purpose: the name of the stream of random numbers for ink and wobble.
    """

    def __init__(self, nuisances: Nuisances, scale: float, purpose: str) -> None:
        rng = stream(nuisances.seed, f"pencil {purpose}")
        self._style = nuisances.style
        self._scale = scale
        self._stroke = nuisances.stroke
        self._ink = _shade((30, 26, 28), rng.uniform(0.4, 1.6))
        self._has_shaded_lines = rng.random() < 0.5  # in a darker shade of the filling, not in ink
        self._whiteness = rng.uniform(0.25, 0.6)  # how far the fillings of a sketch fade to white
        n_traces = 3 if self._style == "sketch" else 0
        self._wobbles = [_sample_wobble(rng, 2.6 * scale) for _ in range(n_traces)]

    def draw(
        self, vertices: np.ndarray, codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        """Draw one filled outline.

        Args:
            vertices: (n, 2), on the canvas.
            codes: (n,).
            extent: the shorter side of the outline in units of the drawing. Small outlines get
                thin contours.
            fill: its colour.
        """
        return self.draw_traces(self.trace(vertices), codes, extent, fill)

    def trace(self, vertices: np.ndarray) -> list[np.ndarray]:
        """Return the vertices of each line that the style draws along an outline.

        A sketch has three lines, each with its own small displacement; other styles have one.
        """
        return [wobble(vertices) for wobble in self._wobbles] or [vertices]

    def draw_traces(
        self,
        traces: list[np.ndarray],
        codes: np.ndarray,
        extent: float,
        fill: Colour | None,
        line: Colour | None = None,
        width: float = 0.0,
        cap: Cap = "butt",
    ) -> list[Item]:
        """Draw one outline from its traces.

        Args:
            traces: what `trace` returns for its vertices (n, 2).
            codes: (n,).
            extent: as in `draw`.
            fill: the colour of the filling in the drawing, or None.
            line: the colour of the line in the drawing, or None.
            width: of this line, in units of the drawing.
            cap: the ends of this line.
        """
        items = [] if fill is None else _STYLES[self._style](self, traces, codes, extent, fill)
        if line is not None:
            items.append(self._item(traces[0], codes, None, line, width, cap=cap))
        return items

    def _item(
        self,
        vertices: np.ndarray,
        codes: np.ndarray,
        fill: Colour | None,
        line: Colour | None = None,
        width: float = 0.0,
        dash: tuple[float, float] | None = None,
        cap: Cap = "butt",
        opacity: float = 1.0,
    ) -> Item:
        canvas_dash = (dash[0] * self._scale, dash[1] * self._scale) if dash else None
        return Item(
            Path(vertices, codes),
            rgba(fill) if fill else None,
            rgba(line, opacity) if line else None,
            width * self._scale,
            canvas_dash,
            cap,
        )

    def _contour(self, fill: Colour, extent: float, max_width: float) -> tuple[Colour, float]:
        """Return colour and width of the line around a filling."""
        width = min((0.45 + 0.55 * self._stroke) * max_width, 0.14 * extent + 0.4)
        return (_shade(fill, 0.42) if self._has_shaded_lines else self._ink), width

    def _flat(
        self, traces: list[np.ndarray], codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        return [self._item(traces[0], codes, fill)]

    def _outlined(
        self, traces: list[np.ndarray], codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        line, width = self._contour(fill, extent, 6.5)
        return [self._item(traces[0], codes, fill, line, width)]

    def _shaded(
        self, traces: list[np.ndarray], codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        if self._stroke < 0.5:
            return [self._item(traces[0], codes, fill)]
        line, width = _shade(fill, 0.6), min(2.2, 0.08 * extent)
        return [self._item(traces[0], codes, fill, line, width)]

    def _sketch(
        self, traces: list[np.ndarray], codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        line, width = self._contour(fill, extent, 3.4)
        pale = mix(fill, WHITE, self._whiteness)
        return [
            self._item(traces[0], codes, pale),
            self._item(traces[1], codes, None, line, width, opacity=0.8),
            self._item(traces[2], codes, None, line, 0.7 * width, opacity=0.7),
        ]

    def _pixelated(
        self, traces: list[np.ndarray], codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        if not self._has_shaded_lines:
            return [self._item(traces[0], codes, fill)]
        line, width = _shade(fill, 0.45), min(4.5, 0.14 * extent)
        return [self._item(traces[0], codes, fill, line, width)]

    def _plush(
        self, traces: list[np.ndarray], codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        vertices = traces[0]
        fabric = mix(fill, WHITE, 0.12)
        pile = _shade(fabric, 0.94)
        if extent < 14:
            return [self._item(vertices, codes, fabric)]
        if extent < 40:
            return [self._item(vertices, codes, fabric, pile, 3.0, opacity=0.5)]
        fur = self._item(vertices, codes, fabric, pile, 4.5, dash=(2.0, 2.0))
        seam_vertices = vertices + (vertices.mean(axis=0) - vertices) * min(0.16, 5.0 / extent)
        thread = _shade(fabric, 0.55)
        seam = self._item(seam_vertices, codes, None, thread, 1.6, dash=(4.5, 3.5), opacity=0.8)
        return [fur, seam]


_STYLES = {
    "flat": Pencil._flat,
    "outlined": Pencil._outlined,
    "shaded": Pencil._shaded,
    "sketch": Pencil._sketch,
    "pixelated": Pencil._pixelated,
    "plush": Pencil._plush,
}


def rgba(colour: Colour, opacity: float = 1.0) -> Rgba:
    """Convert a colour of 0–255 to that of the renderer."""
    return colour[0] / 255, colour[1] / 255, colour[2] / 255, opacity


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


def _sample_wobble(rng: random.Random, amplitude: float) -> Callable[[np.ndarray], np.ndarray]:
    """Sample a smooth displacement of the canvas, the same for every outline.

    It is interpolated bilinearly between offsets on a 10 × 10 grid that extends beyond the canvas.
    """
    n_cells, margin = 9, 96.0
    n_points = n_cells + 1
    grid = np.array(
        [[[rng.uniform(-1, 1) for _ in "xy"] for _ in range(n_points)] for _ in range(n_points)]
    )
    grid = (grid * amplitude).round(3)
    step = (CANVAS + 2 * margin) / n_cells

    def displace(vertices: np.ndarray) -> np.ndarray:
        position = np.clip((vertices + margin) / step, 0, n_cells - 0.001)  # in cells
        cell = position.astype(np.intp)
        remainder = position - cell
        x, y = cell[:, 0], cell[:, 1]
        across, down = remainder[:, :1], remainder[:, 1:]
        above = grid[y, x] * (1 - across) + grid[y, x + 1] * across
        below = grid[y + 1, x] * (1 - across) + grid[y + 1, x + 1] * across
        return vertices + above * (1 - down) + below * down

    return displace
