"""The backdrop of a scene: the background, and everything else that is not the creature.

It depends on the nuisances alone. All coordinates are on the canvas, 256 units wide and high.
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
    """Everything in a scene but the creature.

    Attributes:
        base: uint8 (k, k, 3), coarse colours of the background.
        behind: items behind the creature.
        front: items in front of the creature.
    """

    base: np.ndarray
    behind: tuple[Item, ...]
    front: tuple[Item, ...]


def sample(nuisances: Nuisances) -> Backdrop:
    """Sample the backdrop of the scene with these nuisances."""
    pencil = Pencil(nuisances, 1.0, "props")
    rng = stream(nuisances.seed, "ground")
    base = _sample_base(rng, smooth=nuisances.background != "plain")
    behind = _BACKGROUNDS[nuisances.background](rng, pencil)
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


def _sample_base(rng: random.Random, *, smooth: bool) -> np.ndarray:
    """Sample the coarse colours: one, or several with smooth transitions."""
    if not smooth:
        return np.array([[figures.random_colour(rng, 0.7)]], np.uint8)
    kind = rng.choice(("two", "corners", "clouds"))
    if kind == "two":
        ends = [figures.random_colour(rng), figures.random_colour(rng)]
        grid = [ends, ends] if rng.random() < 0.5 else [[ends[0]] * 2, [ends[1]] * 2]
    elif kind == "corners":
        grid = [[figures.random_colour(rng) for _ in range(2)] for _ in range(2)]
    else:
        pair = figures.random_colour(rng, 0.5), figures.random_colour(rng, 0.5)
        grid = [[figures.mix(*pair, rng.random()) for _ in range(7)] for _ in range(7)]
    return np.array(grid, np.uint8)


def _no_items(rng: random.Random, pencil: Pencil) -> list[Item]:
    return []


def _pattern(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return stripes, checks, dots or small figures that repeat."""
    step = rng.uniform(18, 48)
    kind = rng.choice(("stripes", "checks", "dots", "figures"))
    reach = math.ceil(CANVAS * 0.75 / step)
    indices = range(-reach, reach + 1)
    grid = [(i, j) for i in indices for j in indices]
    if kind == "stripes":
        tile = species.rectangle(0, -200, rng.uniform(0.25, 0.6) * step, 400)
        offsets = [(i * step, 0.0) for i in indices]
    elif kind == "checks":
        tile = species.rectangle(0, 0, step, step)
        offsets = [(i * step, j * step) for i, j in grid if (i + j) % 2]
    else:
        figure = figures.oval() if kind == "dots" else rng.choice(figures.OUTLINES)(rng)
        tile = figures.transform(figure, 0, 0, rng.uniform(0.2, 0.42) * step, rng.uniform(0, 6.28))
        offsets = [((i + j % 2 / 2) * step, j * step) for i, j in grid]
    angle = rng.choice((0, 0.785, rng.uniform(0, 3.14)))
    tiles = figures.repeat(tile, offsets)
    pattern = figures.transform(tiles, CANVAS / 2, CANVAS / 2, figures.FIGURE, angle)
    return [Item.filling(*pattern, figures.random_colour(rng, 0.6), rng.uniform(0.3, 0.9))]


def _clutter(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return many figures, large ones first."""
    items: list[Item] = []
    for radius in sorted((rng.uniform(8, 62) for _ in range(rng.randint(8, 22))), reverse=True):
        outline = rng.choice(figures.OUTLINES)(rng)
        x, y = rng.uniform(0, CANVAS), rng.uniform(0, CANVAS)
        transformed = figures.transform(outline, x, y, radius, rng.uniform(0, 6.28))
        items += pencil.draw(*transformed, radius, figures.random_colour(rng))
    return items


def _landscape(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return sun, clouds, hills one behind the other, stones and bushes."""
    items: list[Item] = []
    if rng.random() < 0.6:
        sun = rng.choice((figures.ellipse, figures.star))(rng)
        x, y, radius = rng.uniform(20, 236), rng.uniform(15, 80), rng.uniform(12, 30)
        items += pencil.draw(*figures.transform(sun, x, y, radius), 24, figures.random_colour(rng))
    for _ in range(rng.randint(0, 3)):
        items.append(_cloud(rng))
    horizon, hue = rng.uniform(90, 190), rng.random()
    for layer in range(rng.randint(1, 3)):
        colour = figures.hsv_colour(
            hue + 0.06 * layer, rng.uniform(0.2, 0.7), rng.uniform(0.3, 0.9)
        )
        items += pencil.draw(*_hill(rng, horizon + 30 * layer), 60, colour)
    for _ in range(rng.randint(0, 6)):
        outline = rng.choice((figures.leaf, figures.blob, figures.triangle))(rng)
        x, y, radius = rng.uniform(0, CANVAS), rng.uniform(horizon, CANVAS), rng.uniform(5, 16)
        items += pencil.draw(
            *figures.transform(outline, x, y, radius), 10, figures.random_colour(rng)
        )
    return items


def _cloud(rng: random.Random) -> Item:
    x, y, radius = rng.uniform(0, CANVAS), rng.uniform(10, 100), rng.uniform(10, 22)
    puffs = [
        figures.transform(figures.ellipse(rng), x + i * radius, y + rng.uniform(-5, 5), radius)
        for i in range(3)
    ]
    return Item.filling(
        *figures.join(puffs), figures.mix(figures.random_colour(rng), WHITE, 0.7), opacity=0.9
    )


def _hill(rng: random.Random, top: float) -> figures.Outline:
    points = [(64.0 * i, top + rng.uniform(-25, 25)) for i in range(5)]
    slopes = [("Q", (*a, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2)) for a, b in pairwise(points[1:])]
    start, end = points[0][1], points[-1][1]
    bottom = [("L", (280, end)), ("L", (280, 280)), ("L", (-20, 280)), ("Z", ())]
    return species.flatten([("M", (-20, start)), *slopes, *bottom])


def _loose_parts(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return one to three body parts that no species has."""
    items: list[Item] = []
    for _ in range(rng.randint(1, 3)):
        x, y = rng.uniform(10, 246), rng.uniform(10, 246)
        radius, angle = rng.uniform(24, 70), rng.uniform(0, 6.28)
        for outline, extent, colour in rng.choice(figures.LOOSE_PARTS)(rng):
            transformed = figures.transform(outline, x, y, radius, angle)
            items += pencil.draw(*transformed, extent * radius, colour)
    return items


def _shadow(rng: random.Random) -> list[Item]:
    """Return a soft shadow on the floor."""
    x, y, radius = rng.uniform(90, 166), rng.uniform(180, 240), rng.uniform(50, 110)
    return [
        Item.filling(*species.ellipse(x, y, radius * scale, 0.22 * radius * scale), _BLACKISH, 0.12)
        for scale in (1, 0.8, 0.6)
    ]


_BACKGROUNDS: dict[str, Callable[[random.Random, Pencil], list[Item]]] = {
    "plain": _no_items,
    "gradient": _no_items,
    "pattern": _pattern,
    "clutter": _clutter,
    "landscape": _landscape,
    "creature": _loose_parts,
}
