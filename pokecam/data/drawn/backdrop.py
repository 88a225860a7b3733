"""The ground behind the creature and everything else that is not the creature.

Made from the nuisances alone. All coordinates are on the canvas, 256 units wide and high.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pokecam.data.drawn import figures, props, species
from pokecam.data.drawn.nuisances import Nuisances, stream
from pokecam.data.drawn.pencil import CANVAS, WHITE, Item, Pencil

_BLACKISH = (10, 10, 20)


@dataclass(frozen=True, eq=False)
class Backdrop:
    """base: uint8 (k, k, 3), coarse colours of the ground; items behind and before the creature."""

    base: np.ndarray
    behind: tuple[Item, ...]
    front: tuple[Item, ...]


def sample(nuisances: Nuisances) -> Backdrop:
    """Draw the backdrop of the scene with these nuisances."""
    pencil = Pencil(nuisances, 1.0, "props")
    rng = stream(nuisances.seed, "ground")
    base = _base(rng, smooth=nuisances.background != "plain")
    behind = _GROUNDS[nuisances.background](rng, pencil)
    if rng.random() < 0.35:
        behind += _shadow(rng)
    front = props.COVERS[nuisances.cover](stream(nuisances.seed, "cover"), pencil)
    distractor = props.DISTRACTORS[nuisances.distractor](
        stream(nuisances.seed, "distractor"), pencil
    )
    if nuisances.distractor == "frame" or rng.random() < 0.4:
        front += distractor
    else:
        behind += distractor
    return Backdrop(base, tuple(behind), tuple(front))


def _base(rng: random.Random, *, smooth: bool) -> np.ndarray:
    """One colour, or a few that run into one another."""
    if not smooth:
        return np.array([[figures.colour(rng, 0.7)]], np.uint8)
    kind = rng.choice(("two", "corners", "clouds"))
    if kind == "two":
        ends = [figures.colour(rng), figures.colour(rng)]
        grid = [ends, ends] if rng.random() < 0.5 else [[ends[0]] * 2, [ends[1]] * 2]
    elif kind == "corners":
        grid = [[figures.colour(rng) for _ in range(2)] for _ in range(2)]
    else:
        pair = figures.colour(rng, 0.5), figures.colour(rng, 0.5)
        grid = [[figures.between(*pair, rng.random()) for _ in range(7)] for _ in range(7)]
    return np.array(grid, np.uint8)


def _empty(rng: random.Random, pencil: Pencil) -> list[Item]:
    return []


def _pattern(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Stripes, checks, dots or small figures, over and over."""
    step = rng.uniform(18, 48)
    kind = rng.choice(("stripes", "checks", "dots", "figures"))
    reach = math.ceil(CANVAS * 0.75 / step)
    line = range(-reach, reach + 1)
    grid = [(i, j) for i in line for j in line]
    if kind == "stripes":
        one = species.rectangle(0, -200, rng.uniform(0.25, 0.6) * step, 400)
        places = [(i * step, 0.0) for i in line]
    elif kind == "checks":
        one = species.rectangle(0, 0, step, step)
        places = [(i * step, j * step) for i, j in grid if (i + j) % 2]
    else:
        figure = figures.oval() if kind == "dots" else rng.choice(figures.OUTLINES)(rng)
        one = figures.placed(figure, 0, 0, rng.uniform(0.2, 0.42) * step, rng.uniform(0, 6.28))
        places = [((i + j % 2 / 2) * step, j * step) for i, j in grid]
    tilt = rng.choice((0, 0.785, rng.uniform(0, 3.14)))
    tiles = figures.tiled(one, places)
    whole = figures.placed(tiles, CANVAS / 2, CANVAS / 2, figures.FIGURE, tilt)
    return [Item.plain(*whole, figures.colour(rng, 0.6), rng.uniform(0.3, 0.9))]


def _clutter(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Shapes of all kinds, large ones first."""
    items: list[Item] = []
    for radius in sorted((rng.uniform(8, 62) for _ in range(rng.randint(8, 22))), reverse=True):
        outline = rng.choice(figures.OUTLINES)(rng)
        x, y = rng.uniform(0, CANVAS), rng.uniform(0, CANVAS)
        placed = figures.placed(outline, x, y, radius, rng.uniform(0, 6.28))
        items += pencil.draw(*placed, radius, figures.colour(rng))
    return items


def _landscape(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Sun, clouds, hills one behind the other, stones and bushes."""
    items: list[Item] = []
    if rng.random() < 0.6:
        sun = rng.choice((figures.ellipse, figures.star))(rng)
        x, y, radius = rng.uniform(20, 236), rng.uniform(15, 80), rng.uniform(12, 30)
        items += pencil.draw(*figures.placed(sun, x, y, radius), 24, figures.colour(rng))
    for _ in range(rng.randint(0, 3)):
        items.append(_cloud(rng))
    horizon, hue = rng.uniform(90, 190), rng.random()
    for layer in range(rng.randint(1, 3)):
        colour = figures.hsv(hue + 0.06 * layer, rng.uniform(0.2, 0.7), rng.uniform(0.3, 0.9))
        items += pencil.draw(*_hill(rng, horizon + 30 * layer), 60, colour)
    for _ in range(rng.randint(0, 6)):
        thing = rng.choice((figures.leaf, figures.blob, figures.triangle))(rng)
        x, y, radius = rng.uniform(0, CANVAS), rng.uniform(horizon, CANVAS), rng.uniform(5, 16)
        items += pencil.draw(*figures.placed(thing, x, y, radius), 10, figures.colour(rng))
    return items


def _cloud(rng: random.Random) -> Item:
    x, y, radius = rng.uniform(0, CANVAS), rng.uniform(10, 100), rng.uniform(10, 22)
    puffs = [
        figures.placed(figures.ellipse(rng), x + i * radius, y + rng.uniform(-5, 5), radius)
        for i in range(3)
    ]
    return Item.plain(
        *figures.many(puffs), figures.between(figures.colour(rng), WHITE, 0.7), opacity=0.9
    )


def _hill(rng: random.Random, top: float) -> figures.Outline:
    points = [(64.0 * i, top + rng.uniform(-25, 25)) for i in range(5)]
    slopes = [("Q", (*a, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2)) for a, b in pairwise(points[1:])]
    start, end = points[0][1], points[-1][1]
    ground = [("L", (280, end)), ("L", (280, 280)), ("L", (-20, 280)), ("Z", ())]
    return species.flatten([("M", (-20, start)), *slopes, *ground])


def _loose_parts(rng: random.Random, pencil: Pencil) -> list[Item]:
    """One to three parts of creatures outside the catalogue."""
    items: list[Item] = []
    for _ in range(rng.randint(1, 3)):
        x, y = rng.uniform(10, 246), rng.uniform(10, 246)
        radius, turn = rng.uniform(24, 70), rng.uniform(0, 6.28)
        for outline, extent, colour in rng.choice(figures.LOOSE_PARTS)(rng):
            placed = figures.placed(outline, x, y, radius, turn)
            items += pencil.draw(*placed, extent * radius, colour)
    return items


def _shadow(rng: random.Random) -> list[Item]:
    """A soft shadow on the ground."""
    x, y, wide = rng.uniform(90, 166), rng.uniform(180, 240), rng.uniform(50, 110)
    return [
        Item.plain(*species.ellipse(x, y, wide * share, 0.22 * wide * share), _BLACKISH, 0.12)
        for share in (1, 0.8, 0.6)
    ]


_GROUNDS: dict[str, Callable[[random.Random, Pencil], list[Item]]] = {
    "plain": _empty,
    "gradient": _empty,
    "pattern": _pattern,
    "clutter": _clutter,
    "landscape": _landscape,
    "creature": _loose_parts,
}
