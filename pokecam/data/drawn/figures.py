"""Simple figures to fill a scene with: outlines, random colours, and parts of no known creature."""

import colorsys
import math
import random
from collections.abc import Callable

import numpy as np

from pokecam.data.drawn import species
from pokecam.data.drawn.species import Colour, Point

Outline = tuple[np.ndarray, np.ndarray]  # vertices (n, 2) and codes (n,)
Piece = tuple[Outline, float, Colour]  # outline, its shorter side over the radius, its colour


def colour(rng: random.Random, most_vivid: float = 0.9) -> Colour:
    """Any colour but a very dark one."""
    return hsv(rng.random(), rng.uniform(0.02, most_vivid), rng.uniform(0.25, 1))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """The colour with this hue (in turns), saturation and value (0–1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def between(first: Colour, second: Colour, share: float) -> Colour:
    """A mixture: `share` of the second colour."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


# Outlines are drawn around (0, 0), about FIGURE in radius, and then placed.
FIGURE = 64.0


def oval(wide: float = 1.0, high: float = 1.0) -> Outline:
    """An ellipse, sizes over FIGURE."""
    return species.ellipse(0, 0, wide * FIGURE, high * FIGURE)


def angular(points: list[Point]) -> Outline:
    """A polygon, coordinates over FIGURE."""
    return species.polygon([(x * FIGURE, y * FIGURE) for x, y in points])


def curved(commands: list[tuple[str, tuple[float, ...]]]) -> Outline:
    """A path of M L Q C Z, coordinates over FIGURE."""
    return species.flatten(
        [(letter, tuple(number * FIGURE for number in numbers)) for letter, numbers in commands]
    )


def rectangle(left: float, top: float, right: float, bottom: float, rx: float = 0.0) -> Outline:
    """A rectangle with rounded corners, coordinates over FIGURE."""
    left, top, right, bottom, rx = (FIGURE * edge for edge in (left, top, right, bottom, rx))
    return species.rectangle(left, top, right - left, bottom - top, rx)


def ellipse(rng: random.Random) -> Outline:
    """A flat or round ellipse."""
    return oval(1, rng.uniform(0.4, 1))


def triangle(rng: random.Random) -> Outline:
    """A triangle that leans to one side."""
    return angular([(-0.9, 0.8), (rng.uniform(-0.6, 0.6), -1), (0.9, 0.8)])


def block(rng: random.Random) -> Outline:
    """A rectangle, sometimes with round corners."""
    high = rng.uniform(0.3, 0.9)
    return rectangle(-0.9, -high, 0.9, high, rng.choice((0, 0.3)))


def star(rng: random.Random) -> Outline:
    """A star of four to eight points."""
    points, inner = rng.randint(4, 8), rng.uniform(0.35, 0.7)
    corners = []
    for i in range(2 * points):
        far, turn = inner if i % 2 else 1, math.pi * i / points
        corners.append((far * math.cos(turn), far * math.sin(turn)))
    return angular(corners)


def zigzag(rng: random.Random) -> Outline:
    """A band of two to four teeth."""
    teeth, thick = rng.randint(2, 4), rng.uniform(0.25, 0.45)
    upper = [(-1 + 2 * i / teeth, -0.5 * (-1) ** i) for i in range(teeth + 1)]
    return angular([*upper, *[(x, y + thick) for x, y in reversed(upper)]])


def blob(rng: random.Random) -> Outline:
    """A round thing without symmetry."""
    turns = [2 * math.pi * i / 7 for i in range(7)]
    far = [rng.uniform(0.6, 1.1) for _ in turns]
    return smooth([(r * math.cos(t), r * math.sin(t)) for r, t in zip(far, turns, strict=True)])


def leaf(rng: random.Random) -> Outline:
    """A pointed leaf, a bit bent."""
    wide, bent = rng.uniform(0.3, 0.7), rng.uniform(-0.4, 0.4)
    left = ("C", (-wide, 0.6, -wide + bent, -0.5, bent, -1))
    right = ("C", (wide + bent, -0.5, wide, 0.6, 0, 1))
    return curved([("M", (0, 1)), left, right, ("Z", ())])


def smooth(points: list[Point]) -> Outline:
    """A closed curve that touches the sides of the polygon through `points` at their middles."""
    middles = [
        ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
        for a, b in zip(points, [*points[1:], points[0]], strict=True)
    ]
    curves = [("Q", (*corner, *end)) for corner, end in zip(points, middles, strict=True)]
    return curved([("M", middles[-1]), *curves, ("Z", ())])


OUTLINES = (ellipse, triangle, block, star, zigzag, blob, leaf)


def placed(outline: Outline, x: float, y: float, radius: float, turn: float = 0.0) -> Outline:
    """The outline turned by `turn` (radians), FIGURE made `radius`, around (x, y)."""
    vertices, codes = outline
    scale = radius / FIGURE
    cos, sin = round(math.cos(turn), 6) * scale, round(math.sin(turn), 6) * scale
    placed = np.empty_like(vertices)
    placed[:, 0] = x + cos * vertices[:, 0] - sin * vertices[:, 1]
    placed[:, 1] = y + sin * vertices[:, 0] + cos * vertices[:, 1]
    return placed.round(2), codes


def moved(outline: Outline, x: float, y: float, share: float) -> Outline:
    """The outline made smaller, as a piece of a larger figure."""
    return placed(outline, x * FIGURE, y * FIGURE, share * FIGURE)


def many(outlines: list[Outline]) -> Outline:
    """Several outlines of one colour as one, which is much faster to paint."""
    vertices, codes = zip(*outlines, strict=True)
    return np.concatenate(vertices), np.concatenate(codes)


def tiled(outline: Outline, places: list[Point]) -> Outline:
    """One outline at many places, as one."""
    vertices, codes = outline
    moved = vertices[None] + np.array(places)[:, None]  # (places, n, 2)
    return moved.reshape(-1, 2), np.tile(codes, len(places))


# Parts of creatures that are in no catalogue.


def _ear(rng: random.Random) -> list[Piece]:
    shape = leaf(rng)
    return [(shape, 0.8, colour(rng)), (moved(shape, 0, 0.1, 0.6), 0.5, colour(rng))]


def _tail(rng: random.Random) -> list[Piece]:
    tip = rng.choice((star, leaf, ellipse))(rng)
    return [(zigzag(rng), 0.6, colour(rng)), (moved(tip, 1, 0, 0.4), 0.4, colour(rng))]


def _wing(rng: random.Random) -> list[Piece]:
    scallops = [("Q", (0.9 - 0.5 * i, 0.25, 0.5 - 0.5 * i, 0.75 - 0.12 * i)) for i in range(4)]
    skin = curved([("M", (-1, -0.4)), ("Q", (0, -1.2, 1, -0.2)), *scallops, ("Z", ())])
    rib = angular([(-1, -0.45), (1, -0.25), (1, -0.15), (-1, -0.3)])
    return [(skin, 0.8, colour(rng)), (rib, 0.15, colour(rng))]


def _paw(rng: random.Random) -> list[Piece]:
    claw = colour(rng, 0.2)
    claws = [(moved(triangle(rng), -0.5 + 0.5 * i, -0.8, 0.25), 0.2, claw) for i in range(3)]
    return [*claws, (oval(0.9, 0.75), 0.9, colour(rng))]


def _face(rng: random.Random) -> list[Piece]:
    pieces = [
        (blob(rng), 1.2, colour(rng)),
        (moved(ellipse(rng), 0, 0.4, 0.35), 0.3, colour(rng)),
    ]
    for side in (-1, 1):
        pieces.append((moved(oval(0.7, 1), 0.35 * side, -0.15, 0.2), 0.2, (250, 250, 250)))
        pieces.append((moved(oval(), 0.35 * side, -0.12, 0.1), 0.1, (25, 25, 30)))
    return pieces


def _shell(rng: random.Random) -> list[Piece]:
    mark = colour(rng)
    marks = [
        (moved(blob(rng), math.cos(turn) * 0.5, math.sin(turn) * 0.5, 0.22), 0.3, mark)
        for turn in (0.3, 1.9, 3.5, 5.0)
    ]
    return [(oval(1, 0.85), 1.6, colour(rng)), *marks]


LOOSE_PARTS: tuple[Callable[[random.Random], list[Piece]], ...] = (
    _ear,
    _tail,
    _wing,
    _paw,
    _face,
    _shell,
)
