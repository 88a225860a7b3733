"""Strokes: the notation in which `organs` describes shapes.

A line is one stroke: its type, the role of its colour, its measures, its points. Points are x,y in
the frame of the organ. The position of the organ on the creature decides the origin, the directions
and the unit of the frame. y points down.

    oval   <colour> x,y rx,ry            edged   <colour> points      a polygon with corners
    disc   <colour> x,y r                smooth  <colour> points      a curve pulled towards them
    line   <colour> width points         limb    <colour> half>half points
    star   <colour> x,y rx,ry n inner    puff    <colour> x,y rx,ry n inner

A limb bends along three points and has a half width at both ends. A line of three points is bent
through them. Star and puff have n points on an ellipse; every other point is moved in to the
fraction `inner` of the radius. Straight lines join the points of a star, a smooth curve those of a
puff. Lengths are in units of the frame, or with `u` in units of the drawing. A mirrored frame
mirrors x but not `=x`. `x~l` moves by l when the head turns.
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
    """The coordinate system of strokes, in units of the drawing.

    Attributes:
        x, y: the origin.
        right: the length of one unit to the right, negative in a mirrored frame.
        down: the length of one unit down.
        lean: how far a point `x~1` moves.
    """

    x: float
    y: float
    right: float
    down: float
    lean: float = 0.0

    def point(self, text: str) -> Point:
        """Return a point of the drawing."""
        across, down = text.split(",")
        across, _, lean = across.partition("~")
        right = abs(self.right) if across.startswith("=") else self.right
        x = self.x + float(across.removeprefix("=")) * right + float(lean or 0) * self.lean
        return x, self.y + float(down) * self.down

    def length(self, text: str) -> float:
        """Return a length in the drawing."""
        return float(text[:-1]) if text.endswith("u") else float(text) * abs(self.right)

    def radii(self, text: str) -> tuple[float, float]:
        """Return two radii in the drawing. The text has one for both directions, or two."""
        across, _, down = text.partition(",")
        return self.length(across), float(down) * abs(self.down) if down else self.length(across)


Outline = tuple[np.ndarray, np.ndarray]  # vertices and codes, as `species` makes them


def draw(text: str, frame: Frame, colours: Mapping[str, Colour]) -> list[Shape]:
    """Return the shapes of strokes.

    Args:
        text: one stroke a line.
        frame: where they are drawn.
        colours: role → colour.
    """
    shapes = []
    for line in text.strip().splitlines():
        name, role, *words = line.split()
        if name == "line":
            shapes.append(_line(words, frame, colours[role]))
        else:
            shapes += [Shape(*outline, colours[role]) for outline in _STROKES[name](words, frame)]
    return shapes


def smooth(points: Sequence[Point]) -> Outline:
    """Return a closed curve that runs through the middles between `points` and is pulled towards
    each of them."""
    following = [*points[1:], points[0]]
    middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in zip(points, following, strict=True)]
    steps: list[tuple[str, tuple[float, ...]]] = [("M", middles[-1])]
    steps += [("Q", (*point, *middle)) for point, middle in zip(points, middles, strict=True)]
    return species.flatten([*steps, ("Z", ())])


def limb(path: Sequence[Point], start: float, end: float) -> list[Outline]:
    """Return a bent limb along the Bézier curve of three points.

    Args:
        path: the three points.
        start, end: half widths at its ends.

    Returns:
        Outlines of its sides and of its two round ends.
    """
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
    sides = species.polygon([*left, *reversed(right)])
    return [sides, species.ellipse(x2, y2, end, end), species.ellipse(x0, y0, start, start)]


def ring(x: float, y: float, rx: float, ry: float, n: int, inner: float = 1.0) -> list[Point]:
    """Return points on an ellipse.

    Args:
        x, y: the centre.
        rx, ry: the radii.
        n: how many points. The first is at the top.
        inner: the fraction of the radius of every other point.
    """
    points = []
    for i in range(n):
        angle, fraction = 2 * math.pi * i / n - math.pi / 2, inner if i % 2 else 1.0
        points.append((x + rx * fraction * math.cos(angle), y + ry * fraction * math.sin(angle)))
    return points


def _oval(words: list[str], frame: Frame) -> list[Outline]:
    centre, radii = words
    return [species.ellipse(*frame.point(centre), *frame.radii(radii))]


def _edged(words: list[str], frame: Frame) -> list[Outline]:
    return [species.polygon([frame.point(text) for text in words])]


def _smooth(words: list[str], frame: Frame) -> list[Outline]:
    return [smooth([frame.point(text) for text in words])]


def _limb(words: list[str], frame: Frame) -> list[Outline]:
    start, end = (frame.length(text) for text in words[0].split(">"))
    return limb([frame.point(text) for text in words[1:]], start, end)


def _star(words: list[str], frame: Frame) -> list[Outline]:
    return [species.polygon(_ring(words, frame))]


def _puff(words: list[str], frame: Frame) -> list[Outline]:
    return [smooth(_ring(words, frame))]


def _ring(words: list[str], frame: Frame) -> list[Point]:
    centre, radii, n, inner = words
    return ring(*frame.point(centre), *frame.radii(radii), int(n), float(inner))


def _line(words: list[str], frame: Frame, colour: Colour) -> Shape:
    width, points = frame.length(words[0]), [frame.point(text) for text in words[1:]]
    steps: list[tuple[str, tuple[float, ...]]] = [("M", points[0])]
    if len(points) == 3:
        (x0, y0), (x1, y1), (x2, y2) = points
        steps.append(("Q", (2 * x1 - (x0 + x2) / 2, 2 * y1 - (y0 + y2) / 2, x2, y2)))
    else:
        steps += [("L", point) for point in points[1:]]
    return Shape(*species.flatten(steps), None, colour, width, "round")


_STROKES: dict[str, Callable[[list[str], Frame], list[Outline]]] = {
    "oval": _oval, "disc": _oval, "edged": _edged, "smooth": _smooth, "limb": _limb,
    "star": _star, "puff": _puff,
}  # fmt: skip
