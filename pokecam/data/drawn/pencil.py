"""The drawing styles: how one outline becomes things to paint.

A pencil is made from the nuisances alone and treats every outline by itself, so that a part looks
the same whatever else is drawn. The canvas is 256 units wide and high, origin at the top left.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.path import Path

from pokecam.data.drawn.nuisances import Nuisances, stream
from pokecam.data.drawn.species import Cap, Colour

CANVAS = 256.0
WHITE: Colour = (255, 255, 255)

Paint = tuple[float, float, float, float]  # red, green, blue, opacity, each 0–1


@dataclass(frozen=True, eq=False)
class Item:
    """One thing to paint: an outline on the canvas, filled or drawn as a line or both."""

    path: Path
    fill: Paint | None
    line: Paint | None = None
    width: float = 0.0
    dash: tuple[float, float] | None = None
    cap: Cap = "butt"

    @classmethod
    def plain(
        cls, vertices: np.ndarray, codes: np.ndarray, colour: Colour, opacity: float = 1.0
    ) -> "Item":
        """A filling without a line."""
        return cls(Path(vertices, codes), paint(colour, opacity))

    @classmethod
    def stroke(
        cls, vertices: np.ndarray, codes: np.ndarray, colour: Colour, width: float
    ) -> "Item":
        """A line with round ends, `width` on the canvas."""
        return cls(Path(vertices, codes), None, paint(colour), width, cap="round")


class Pencil:
    """Turns outlines into items in the style of one image.

    scale    length of one unit of the drawing on the canvas; lines get thinner with it
    purpose  names the stream of random numbers behind the ink and the hand's wobble
    """

    def __init__(self, nuisances: Nuisances, scale: float, purpose: str) -> None:
        rng = stream(nuisances.seed, f"pencil {purpose}")
        self._style = nuisances.style
        self._scale = scale
        self._stroke = nuisances.stroke
        self._ink = _shade((30, 26, 28), rng.uniform(0.4, 1.6))
        self._own_ink = rng.random() < 0.5  # outlines in a darker shade of the filling
        self._paper = rng.uniform(0.25, 0.6)  # how far a sketch's fillings fade to white
        strokes = 3 if self._style == "sketch" else 0
        self._wobbles = [_wobble(rng, 2.6 * scale) for _ in range(strokes)]

    def draw(
        self, vertices: np.ndarray, codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        """Items for one filled outline: vertices (n, 2) and codes (n,) on the canvas.

        `extent` is the outline's shorter side in units of the drawing: small outlines get thin
        contours.
        """
        return self.draw_traced(self.trace(vertices), codes, extent, fill)

    def trace(self, vertices: np.ndarray) -> list[np.ndarray]:
        """The vertices as often as the style draws them: a sketch three times, always a bit off."""
        return [wobble(vertices) for wobble in self._wobbles] or [vertices]

    def draw_traced(
        self,
        traces: list[np.ndarray],
        codes: np.ndarray,
        extent: float,
        fill: Colour | None,
        line: Colour | None = None,
        width: float = 0.0,
        cap: Cap = "butt",
    ) -> list[Item]:
        """Items for one outline that `trace` was given; `line` and `width` are those of its own."""
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
        scaled = (dash[0] * self._scale, dash[1] * self._scale) if dash else None
        return Item(
            Path(vertices, codes),
            paint(fill) if fill else None,
            paint(line, opacity) if line else None,
            width * self._scale,
            scaled,
            cap,
        )

    def _contour(self, fill: Colour, extent: float, most: float) -> tuple[Colour, float]:
        """Colour and width of the line around a filling."""
        width = min((0.45 + 0.55 * self._stroke) * most, 0.14 * extent + 0.4)
        return (_shade(fill, 0.42) if self._own_ink else self._ink), width

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
        faded = _mix(fill, WHITE, self._paper)
        return [
            self._item(traces[0], codes, faded),
            self._item(traces[1], codes, None, line, width, opacity=0.8),
            self._item(traces[2], codes, None, line, 0.7 * width, opacity=0.7),
        ]

    def _pixelated(
        self, traces: list[np.ndarray], codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        if not self._own_ink:
            return [self._item(traces[0], codes, fill)]
        line, width = _shade(fill, 0.45), min(4.5, 0.14 * extent)
        return [self._item(traces[0], codes, fill, line, width)]

    def _plush(
        self, traces: list[np.ndarray], codes: np.ndarray, extent: float, fill: Colour
    ) -> list[Item]:
        vertices = traces[0]
        soft = _mix(fill, WHITE, 0.12)
        pile = _shade(soft, 0.94)
        if extent < 14:
            return [self._item(vertices, codes, soft)]
        if extent < 40:
            return [self._item(vertices, codes, soft, pile, 3.0, opacity=0.5)]
        fur = self._item(vertices, codes, soft, pile, 4.5, dash=(2.0, 2.0))
        inside = vertices + (vertices.mean(axis=0) - vertices) * min(0.16, 5.0 / extent)
        thread = _shade(soft, 0.55)
        seam = self._item(inside, codes, None, thread, 1.6, dash=(4.5, 3.5), opacity=0.8)
        return [fur, seam]


_STYLES = {
    "flat": Pencil._flat,
    "outlined": Pencil._outlined,
    "shaded": Pencil._shaded,
    "sketch": Pencil._sketch,
    "pixelated": Pencil._pixelated,
    "plush": Pencil._plush,
}


def paint(colour: Colour, opacity: float = 1.0) -> Paint:
    """A colour of 0–255 as the renderer takes it."""
    return colour[0] / 255, colour[1] / 255, colour[2] / 255, opacity


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


def _wobble(rng: random.Random, amplitude: float) -> Callable[[np.ndarray], np.ndarray]:
    """A smooth random displacement of the canvas, the same for every outline.

    Offsets on a 10 × 10 grid that reaches beyond the canvas, bilinear between them.
    """
    cells, margin = 9, 96.0
    grid = np.array(
        [[[rng.uniform(-1, 1) for _ in "xy"] for _ in range(cells + 1)] for _ in range(cells + 1)]
    )
    grid = (grid * amplitude).round(3)
    step = (CANVAS + 2 * margin) / cells

    def displace(vertices: np.ndarray) -> np.ndarray:
        place = np.clip((vertices + margin) / step, 0, cells - 0.001)
        cell = place.astype(np.intp)
        part = place - cell
        x, y = cell[:, 0], cell[:, 1]
        across, down = part[:, :1], part[:, 1:]
        above = grid[y, x] * (1 - across) + grid[y, x + 1] * across
        below = grid[y + 1, x] * (1 - across) + grid[y + 1, x + 1] * across
        return vertices + above * (1 - down) + below * down

    return displace
