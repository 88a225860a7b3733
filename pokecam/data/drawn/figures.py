"""Simple figures for backdrops: outlines, random colours, and parts that no species has.

Functions with a parameter `rng` sample what they return.
"""

import colorsys
import math
import random
from collections.abc import Callable

import numpy as np

from pokecam.data.drawn import species
from pokecam.data.drawn.species import Colour, Point

Outline = tuple[np.ndarray, np.ndarray]  # vertices (n, 2) and codes (n,)
# A piece of a figure: outline, its shorter side as a multiple of the radius of the figure, colour.
Piece = tuple[Outline, float, Colour]


def random_colour(rng: random.Random, max_saturation: float = 0.9) -> Colour:
    """Return any colour except a very dark one."""
    return hsv_colour(rng.random(), rng.uniform(0.02, max_saturation), rng.uniform(0.25, 1))


def hsv_colour(hue: float, saturation: float, value: float) -> Colour:
    """Return the colour of a hue in turns, and a saturation and value from 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def mix(first: Colour, second: Colour, fraction: float) -> Colour:
    """Return a mixture of two colours; `fraction` is that of the second."""
    red, green, blue = (round(a + (b - a) * fraction) for a, b in zip(first, second, strict=True))
    return red, green, blue


# The radius of outlines, around (0, 0), before `transform` moves them. It is only approximate.
FIGURE = 64.0


def oval(rx: float = 1.0, ry: float = 1.0) -> Outline:
    """Return an ellipse; its radii are multiples of FIGURE."""
    return species.ellipse(0, 0, rx * FIGURE, ry * FIGURE)


def polygon(points: list[Point]) -> Outline:
    """Return a polygon; coordinates are multiples of FIGURE."""
    return species.polygon([(x * FIGURE, y * FIGURE) for x, y in points])


def path(commands: list[tuple[str, tuple[float, ...]]]) -> Outline:
    """Return a path of M, L, Q, C and Z commands; coordinates are multiples of FIGURE."""
    return species.flatten(
        [(letter, tuple(number * FIGURE for number in numbers)) for letter, numbers in commands]
    )


def rectangle(left: float, top: float, right: float, bottom: float, rx: float = 0.0) -> Outline:
    """Return a rectangle with corners of radius `rx`; coordinates are multiples of FIGURE."""
    left, top, right, bottom, rx = (FIGURE * edge for edge in (left, top, right, bottom, rx))
    return species.rectangle(left, top, right - left, bottom - top, rx)


def ellipse(rng: random.Random) -> Outline:
    """Return a flat or round ellipse."""
    return oval(1, rng.uniform(0.4, 1))


def triangle(rng: random.Random) -> Outline:
    """Return a triangle that leans to one side."""
    return polygon([(-0.9, 0.8), (rng.uniform(-0.6, 0.6), -1), (0.9, 0.8)])


def block(rng: random.Random) -> Outline:
    """Return a rectangle, sometimes with round corners."""
    bottom = rng.uniform(0.3, 0.9)
    return rectangle(-0.9, -bottom, 0.9, bottom, rng.choice((0, 0.3)))


def star(rng: random.Random) -> Outline:
    """Return a star of four to eight points."""
    n_points, inner_radius = rng.randint(4, 8), rng.uniform(0.35, 0.7)
    corners = []
    for i in range(2 * n_points):
        radius, angle = inner_radius if i % 2 else 1, math.pi * i / n_points
        corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    return polygon(corners)


def zigzag(rng: random.Random) -> Outline:
    """Return a band of two to four teeth."""
    n_teeth, thickness = rng.randint(2, 4), rng.uniform(0.25, 0.45)
    upper = [(-1 + 2 * i / n_teeth, -0.5 * (-1) ** i) for i in range(n_teeth + 1)]
    return polygon([*upper, *[(x, y + thickness) for x, y in reversed(upper)]])


def blob(rng: random.Random) -> Outline:
    """Return a round outline without symmetry."""
    angles = [2 * math.pi * i / 7 for i in range(7)]
    radii = [rng.uniform(0.6, 1.1) for _ in angles]
    return smooth([(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)])


def leaf(rng: random.Random) -> Outline:
    """Return a pointed leaf, bent to one side."""
    width, bend = rng.uniform(0.3, 0.7), rng.uniform(-0.4, 0.4)
    left = ("C", (-width, 0.6, -width + bend, -0.5, bend, -1))
    right = ("C", (width + bend, -0.5, width, 0.6, 0, 1))
    return path([("M", (0, 1)), left, right, ("Z", ())])


def smooth(points: list[Point]) -> Outline:
    """Return a closed curve that touches the sides of a polygon at their midpoints."""
    midpoints = [
        ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
        for a, b in zip(points, [*points[1:], points[0]], strict=True)
    ]
    curves = [("Q", (*corner, *end)) for corner, end in zip(points, midpoints, strict=True)]
    return path([("M", midpoints[-1]), *curves, ("Z", ())])


OUTLINES = (ellipse, triangle, block, star, zigzag, blob, leaf)


def transform(outline: Outline, x: float, y: float, radius: float, angle: float = 0.0) -> Outline:
    """Scale, rotate and move an outline.

    Args:
        outline: around (0, 0), with the radius FIGURE.
        x: of the new centre.
        y: of the new centre.
        radius: the new radius.
        angle: of the rotation, in radians.
    """
    vertices, codes = outline
    scale = radius / FIGURE
    cos, sin = round(math.cos(angle), 6) * scale, round(math.sin(angle), 6) * scale
    transformed = np.empty_like(vertices)
    transformed[:, 0] = x + cos * vertices[:, 0] - sin * vertices[:, 1]
    transformed[:, 1] = y + sin * vertices[:, 0] + cos * vertices[:, 1]
    return transformed.round(2), codes


def shrink(outline: Outline, x: float, y: float, radius: float) -> Outline:
    """Scale and move an outline inside a larger figure; the numbers are multiples of FIGURE."""
    return transform(outline, x * FIGURE, y * FIGURE, radius * FIGURE)


def join(outlines: list[Outline]) -> Outline:
    """Join several outlines of one colour to one, which is painted much faster."""
    vertices, codes = zip(*outlines, strict=True)
    return np.concatenate(vertices), np.concatenate(codes)


def repeat(outline: Outline, offsets: list[Point]) -> Outline:
    """Repeat an outline at several offsets, and join the copies to one outline."""
    vertices, codes = outline
    copies = vertices[None] + np.array(offsets)[:, None]  # (len(offsets), n, 2)
    return copies.reshape(-1, 2), np.tile(codes, len(offsets))


# Parts that no species of the catalogue has.


def _ear(rng: random.Random) -> list[Piece]:
    shape = leaf(rng)
    return [(shape, 0.8, random_colour(rng)), (shrink(shape, 0, 0.1, 0.6), 0.5, random_colour(rng))]


def _tail(rng: random.Random) -> list[Piece]:
    tip = rng.choice((star, leaf, ellipse))(rng)
    return [
        (zigzag(rng), 0.6, random_colour(rng)),
        (shrink(tip, 1, 0, 0.4), 0.4, random_colour(rng)),
    ]


def _wing(rng: random.Random) -> list[Piece]:
    scallops = [("Q", (0.9 - 0.5 * i, 0.25, 0.5 - 0.5 * i, 0.75 - 0.12 * i)) for i in range(4)]
    skin = path([("M", (-1, -0.4)), ("Q", (0, -1.2, 1, -0.2)), *scallops, ("Z", ())])
    rib = polygon([(-1, -0.45), (1, -0.25), (1, -0.15), (-1, -0.3)])
    return [(skin, 0.8, random_colour(rng)), (rib, 0.15, random_colour(rng))]


def _paw(rng: random.Random) -> list[Piece]:
    colour = random_colour(rng, 0.2)
    claws = [(shrink(triangle(rng), -0.5 + 0.5 * i, -0.8, 0.25), 0.2, colour) for i in range(3)]
    return [*claws, (oval(0.9, 0.75), 0.9, random_colour(rng))]


def _face(rng: random.Random) -> list[Piece]:
    pieces = [
        (blob(rng), 1.2, random_colour(rng)),
        (shrink(ellipse(rng), 0, 0.4, 0.35), 0.3, random_colour(rng)),
    ]
    for side in (-1, 1):
        pieces.append((shrink(oval(0.7, 1), 0.35 * side, -0.15, 0.2), 0.2, (250, 250, 250)))
        pieces.append((shrink(oval(), 0.35 * side, -0.12, 0.1), 0.1, (25, 25, 30)))
    return pieces


def _shell(rng: random.Random) -> list[Piece]:
    colour = random_colour(rng)
    marks = [
        (shrink(blob(rng), math.cos(angle) * 0.5, math.sin(angle) * 0.5, 0.22), 0.3, colour)
        for angle in (0.3, 1.9, 3.5, 5.0)
    ]
    return [(oval(1, 0.85), 1.6, random_colour(rng)), *marks]


LOOSE_PARTS: tuple[Callable[[random.Random], list[Piece]], ...] = (
    _ear,
    _tail,
    _wing,
    _paw,
    _face,
    _shell,
)
