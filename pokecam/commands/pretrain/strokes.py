"""A few strokes written down by hand: the notation in which `organs` describes shapes.

One stroke a line: kind, colour by role, measures, points. Points are x,y in the organ's own frame,
whose origin, directions and unit come from where it sits on a creature; y points down.

    oval   <colour> x,y rx,ry            edged   <colour> points      a polygon with corners
    disc   <colour> x,y r                smooth  <colour> points      a curve pulled towards them
    line   <colour> width points         limb    <colour> half>half points
    star   <colour> x,y rx,ry n inner    puff    <colour> x,y rx,ry n inner

A limb bends along three points, its half width given at both ends; a line of three points is bent
through them. Star and puff have n points on an ellipse, every other one drawn in to `inner`, joined
by straight lines or smoothly. Lengths are in units of the frame, with `u` in those of the drawing.
x is mirrored where the frame is, `=x` is not, and `x~l` moves by l when the head turns.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pokecam.data.drawn import species
from pokecam.data.drawn.species import Colour, Point, Shape

LIMB_PIECES = 8


@dataclass(frozen=True)
class Frame:
    """Where strokes go: origin, the drawing's units in one unit to the right (below 0 where the
    frame is mirrored) and down, and how far a fully leaning point moves."""

    x: float
    y: float
    right: float
    down: float
    lean: float = 0.0

    def point(self, text: str) -> Point:
        across, down = text.split(",")
        across, _, lean = across.partition("~")
        right = abs(self.right) if across.startswith("=") else self.right
        x = self.x + float(across.removeprefix("=")) * right + float(lean or 0) * self.lean
        return x, self.y + float(down) * self.down

    def length(self, text: str) -> float:
        return float(text[:-1]) if text.endswith("u") else float(text) * abs(self.right)

    def radii(self, text: str) -> tuple[float, float]:
        """One radius for both directions, or two."""
        across, _, down = text.partition(",")
        return self.length(across), float(down) * abs(self.down) if down else self.length(across)


Outline = tuple[np.ndarray, np.ndarray]  # vertices and codes, as `species` makes them


def draw(text: str, frame: Frame, colours: Mapping[str, Colour]) -> list[Shape]:
    """The shapes that the strokes of `text` make in `frame`."""
    shapes = []
    for line in text.strip().splitlines():
        kind, colour, *rest = line.split()
        if kind == "line":
            shapes.append(_line(rest, frame, colours[colour]))
        else:
            shapes += [Shape(*outline, colours[colour]) for outline in _KINDS[kind](rest, frame)]
    return shapes


def smooth(points: Sequence[Point]) -> Outline:
    """A closed curve through the middles between `points`, which pull it towards themselves."""
    following = [*points[1:], points[0]]
    middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in zip(points, following, strict=True)]
    steps: list[tuple[str, tuple[float, ...]]] = [("M", middles[-1])]
    steps += [("Q", (*point, *middle)) for point, middle in zip(points, middles, strict=True)]
    return species.flatten([*steps, ("Z", ())])


def limb(path: Sequence[Point], start: float, end: float) -> list[Outline]:
    """A bent sausage along the Bézier curve of three points: half width `start` to `end`."""
    (x0, y0), (x1, y1), (x2, y2) = path
    left, right = [], []
    for i in range(LIMB_PIECES + 1):
        t = i / LIMB_PIECES
        x = (1 - t) ** 2 * x0 + 2 * t * (1 - t) * x1 + t * t * x2
        y = (1 - t) ** 2 * y0 + 2 * t * (1 - t) * y1 + t * t * y2
        across = (1 - t) * (x1 - x0) + t * (x2 - x1)
        down = (1 - t) * (y1 - y0) + t * (y2 - y1)
        half = (start + (end - start) * t) / (math.hypot(across, down) or 1.0)
        left.append((x - down * half, y + across * half))
        right.append((x + down * half, y - across * half))
    side = species.polygon([*left, *reversed(right)])
    return [side, species.ellipse(x2, y2, end, end), species.ellipse(x0, y0, start, start)]


def ring(x: float, y: float, rx: float, ry: float, n: int, inner: float = 1.0) -> list[Point]:
    """n points on an ellipse from its top, every other one drawn in to `inner`."""
    points = []
    for i in range(n):
        turn, reach = 2 * math.pi * i / n - math.pi / 2, inner if i % 2 else 1.0
        points.append((x + rx * reach * math.cos(turn), y + ry * reach * math.sin(turn)))
    return points


def _oval(rest: list[str], frame: Frame) -> list[Outline]:
    centre, radii = rest
    return [species.ellipse(*frame.point(centre), *frame.radii(radii))]


def _edged(rest: list[str], frame: Frame) -> list[Outline]:
    return [species.polygon([frame.point(text) for text in rest])]


def _smooth(rest: list[str], frame: Frame) -> list[Outline]:
    return [smooth([frame.point(text) for text in rest])]


def _limb(rest: list[str], frame: Frame) -> list[Outline]:
    start, end = (frame.length(text) for text in rest[0].split(">"))
    return limb([frame.point(text) for text in rest[1:]], start, end)


def _star(rest: list[str], frame: Frame) -> list[Outline]:
    return [species.polygon(_ring(rest, frame))]


def _puff(rest: list[str], frame: Frame) -> list[Outline]:
    return [smooth(_ring(rest, frame))]


def _ring(rest: list[str], frame: Frame) -> list[Point]:
    centre, radii, n, inner = rest
    return ring(*frame.point(centre), *frame.radii(radii), int(n), float(inner))


def _line(rest: list[str], frame: Frame, colour: Colour) -> Shape:
    width, points = frame.length(rest[0]), [frame.point(text) for text in rest[1:]]
    steps: list[tuple[str, tuple[float, ...]]] = [("M", points[0])]
    if len(points) == 3:
        (x0, y0), (x1, y1), (x2, y2) = points
        steps.append(("Q", (2 * x1 - (x0 + x2) / 2, 2 * y1 - (y0 + y2) / 2, x2, y2)))
    else:
        steps += [("L", point) for point in points[1:]]
    return Shape(*species.flatten(steps), None, colour, width, "round")


_KINDS: dict[str, Callable[[list[str], Frame], list[Outline]]] = {
    "oval": _oval, "disc": _oval, "edged": _edged, "smooth": _smooth, "limb": _limb,
    "star": _star, "puff": _puff,
}  # fmt: skip
