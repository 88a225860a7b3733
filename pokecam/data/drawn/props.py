"""Distractors (ball, text, frame) and covers (grass, bar, leaf) at random positions."""

import random
from collections.abc import Callable

from pokecam.data.drawn import figures, species
from pokecam.data.drawn.pencil import CANVAS, Item, Pencil
from pokecam.data.drawn.species import Point

# Letters as strokes on a grid 2 wide and 4 high. Spaces separate strokes; two digits are a point.
_LETTERS = {
    "A": "0410 1024 0323",
    "B": "0004 001122 0223 2304 0212",
    "C": "2000 0004 0424",
    "D": "0004 001022 2204",
    "E": "2000 0004 0424 0212",
    "F": "2000 0004 0212",
    "G": "2000 0004 0424 2422 2212",
    "H": "0004 2024 0222",
    "I": "1014",
    "K": "0004 2002 0224",
    "L": "0004 0424",
    "M": "0400 0012 1220 2024",
    "N": "0400 0024 2420",
    "O": "0020 2024 2404 0400",
    "P": "0004 0020 2022 2202",
    "R": "0004 0020 2022 2202 1224",
    "S": "2000 0002 0222 2224 2404",
    "T": "0020 1014",
    "U": "0004 0424 2420",
    "V": "0014 1420",
    "W": "0004 0412 1224 2420",
    "X": "0024 2004",
    "Y": "0012 2012 1214",
    "Z": "0020 2004 0424",
}


def _no_items(rng: random.Random, pencil: Pencil) -> list[Item]:
    return []


def _ball(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return a ball of two colours, with or without a band and a button."""
    radius, angle = rng.uniform(14, 30), rng.uniform(0, 6.28)
    x, y = _point_near_border(rng, radius + 6)
    half = figures.path([("M", (-1, 0)), ("C", (-1, -1.33, 1, -1.33, 1, 0)), ("Z", ())])
    pieces = [
        (figures.oval(), 1.6, figures.random_colour(rng)),
        (half, 0.8, figures.random_colour(rng)),
        (figures.rectangle(-1, -0.12, 1, 0.12), 0.2, figures.random_colour(rng, 0.3)),
        (figures.oval(0.28, 0.28), 0.4, figures.random_colour(rng, 0.3)),
    ]
    items: list[Item] = []
    for outline, extent, colour in pieces[: rng.choice((2, 3, 4))]:
        transformed = figures.transform(outline, x, y, radius, angle)
        items += pencil.draw(*transformed, extent * radius, colour)
    return items


def _text(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return a word of three to seven letters at the top or the bottom, sometimes on a label."""
    word = rng.choices(tuple(_LETTERS), k=rng.randint(3, 7))
    unit, angle = rng.uniform(2.5, 7.5), rng.uniform(-0.25, 0.25)
    length = 3 * len(word) - 1
    x = rng.uniform(20, max(21, 236 - length * unit))
    y = rng.choice((rng.uniform(20, 50), rng.uniform(205, 235)))
    strokes = [
        _letter_stroke(points, 3 * i)
        for i, letter in enumerate(word)
        for points in _LETTERS[letter].split()
    ]
    size = unit * figures.FIGURE
    letters = figures.transform(figures.join(strokes), x, y, size, angle)
    items = [Item.stroke(*letters, figures.random_colour(rng), rng.uniform(0.5, 0.9) * unit)]
    if rng.random() < 0.4:
        label = species.rectangle(-1.5, -3.5, length + 3, 7)
        transformed = figures.transform(label, x, y, size, angle)
        items.insert(0, Item.filling(*transformed, figures.random_colour(rng, 0.4)))
    return items


def _letter_stroke(points: str, x_offset: int) -> figures.Outline:
    """Return an open line through points of `_LETTERS`, moved to the right."""
    path = [(int(x) + x_offset, int(y) - 2) for x, y in zip(points[::2], points[1::2], strict=True)]
    vertices, codes = species.polygon(path)
    return vertices[:-1], codes[:-1]


def _frame(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return a border of one or two lines, or bars at the top and the bottom."""
    width = rng.uniform(5, 16)
    kind = rng.choice(("border", "double", "bars"))
    if kind == "bars":
        bars = [
            species.rectangle(-5, -5, 266, 5 + 1.6 * width),
            species.rectangle(-5, CANVAS - 1.6 * width, 266, 40),
        ]
        return [Item.filling(*figures.join(bars), figures.random_colour(rng))]
    corner_radius = rng.choice((0, 20))
    outer = species.rectangle(width / 2, width / 2, CANVAS - width, CANVAS - width, corner_radius)
    items = [Item.stroke(*outer, figures.random_colour(rng), width)]
    if kind == "double":
        inner = species.rectangle(width, width, CANVAS - 2 * width, CANVAS - 2 * width)
        items.append(Item.stroke(*inner, figures.random_colour(rng), 0.35 * width))
    return items


def _grass(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return blades of grass from the bottom of the image."""
    hue = rng.choice((rng.uniform(0.15, 0.45), rng.random()))
    max_height = rng.uniform(30, 75)
    start, end = sorted((rng.uniform(-20, 276), rng.uniform(-20, 276)))
    items: list[Item] = []
    for _ in range(rng.randint(5, 14)):
        x, bend, half = rng.uniform(start, end), rng.uniform(-18, 18), rng.uniform(2.5, 5.5)
        top = CANVAS - max_height * rng.uniform(0.6, 1)
        middle = (CANVAS + top) / 2
        blade = species.flatten(
            [
                ("M", (x - half, CANVAS + 6)),
                ("Q", (x - half / 2, middle, x + bend, top)),
                ("Q", (x + half, middle, x + half, CANVAS + 6)),
                ("Z", ()),
            ]
        )
        colour = figures.hsv_colour(hue, rng.uniform(0.4, 0.8), rng.uniform(0.35, 0.8))
        items += pencil.draw(*blade, 2 * half, colour)
    return items


def _bar(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return a vertical or horizontal bar beside the middle."""
    width = rng.uniform(9, 24)
    offset = rng.choice((-1, 1)) * rng.uniform(25, 80)
    bar = species.rectangle(offset - width / 2, -200, width, 400)
    angle = rng.choice((0, 1.571)) + rng.uniform(-0.3, 0.3)
    transformed = figures.transform(bar, CANVAS / 2, CANVAS / 2, figures.FIGURE, angle)
    return pencil.draw(*transformed, width, figures.random_colour(rng))


def _foliage(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Return one to three large leaves or blobs at the borders of the image."""
    items: list[Item] = []
    for _ in range(rng.randint(1, 3)):
        x, y = _point_near_border(rng, 12)
        outline = rng.choice((figures.leaf, figures.blob))(rng)
        radius = rng.uniform(28, 58)
        transformed = figures.transform(outline, x, y, radius, rng.uniform(0, 6.28))
        items += pencil.draw(*transformed, radius, figures.random_colour(rng))
    return items


def _point_near_border(rng: random.Random, margin: float) -> Point:
    """Return a point at a distance of about `margin` from one side of the canvas."""
    along, across = rng.uniform(margin, CANVAS - margin), rng.uniform(margin * 0.6, margin * 1.4)
    if rng.random() < 0.5:
        across = CANVAS - across
    return (along, across) if rng.random() < 0.5 else (across, along)


_DrawItems = Callable[[random.Random, Pencil], list[Item]]

DISTRACTORS: dict[str, _DrawItems] = {
    "none": _no_items,
    "ball": _ball,
    "text": _text,
    "frame": _frame,
}
COVERS: dict[str, _DrawItems] = {
    "none": _no_items,
    "grass": _grass,
    "bar": _bar,
    "leaf": _foliage,
}
