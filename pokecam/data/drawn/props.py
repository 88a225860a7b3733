"""Distractors (ball, text, frame) and covers (grass, bar, leaf), anywhere on the canvas."""

import random
from collections.abc import Callable

from pokecam.data.drawn import figures, species
from pokecam.data.drawn.pencil import CANVAS, Item, Pencil
from pokecam.data.drawn.species import Point

# Letters as strokes on a grid 2 wide and 4 high: strokes apart by blanks, points as digits x y.
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


def _nothing(rng: random.Random, pencil: Pencil) -> list[Item]:
    return []


def _ball(rng: random.Random, pencil: Pencil) -> list[Item]:
    """A ball of two colours, with a band and a button or without."""
    radius, turn = rng.uniform(14, 30), rng.uniform(0, 6.28)
    x, y = _near_border(rng, radius + 6)
    half = figures.curved([("M", (-1, 0)), ("C", (-1, -1.33, 1, -1.33, 1, 0)), ("Z", ())])
    pieces = [
        (figures.oval(), 1.6, figures.colour(rng)),
        (half, 0.8, figures.colour(rng)),
        (figures.rectangle(-1, -0.12, 1, 0.12), 0.2, figures.colour(rng, 0.3)),
        (figures.oval(0.28, 0.28), 0.4, figures.colour(rng, 0.3)),
    ]
    items: list[Item] = []
    for outline, extent, colour in pieces[: rng.choice((2, 3, 4))]:
        placed = figures.placed(outline, x, y, radius, turn)
        items += pencil.draw(*placed, extent * radius, colour)
    return items


def _text(rng: random.Random, pencil: Pencil) -> list[Item]:
    """A word of three to seven letters above or below, sometimes on a label."""
    word = rng.choices(tuple(_LETTERS), k=rng.randint(3, 7))
    unit, turn = rng.uniform(2.5, 7.5), rng.uniform(-0.25, 0.25)
    long = 3 * len(word) - 1
    x = rng.uniform(20, max(21, 236 - long * unit))
    y = rng.choice((rng.uniform(20, 50), rng.uniform(205, 235)))
    strokes = [
        _stroke(points, 3 * place)
        for place, letter in enumerate(word)
        for points in _LETTERS[letter].split()
    ]
    size = unit * figures.FIGURE
    letters = figures.placed(figures.many(strokes), x, y, size, turn)
    items = [Item.stroke(*letters, figures.colour(rng), rng.uniform(0.5, 0.9) * unit)]
    if rng.random() < 0.4:
        label = species.rectangle(-1.5, -3.5, long + 3, 7)
        placed = figures.placed(label, x, y, size, turn)
        items.insert(0, Item.plain(*placed, figures.colour(rng, 0.4)))
    return items


def _stroke(points: str, right: int) -> figures.Outline:
    """An open line through points given as digits, x y in turn, moved to the right."""
    path = [(int(x) + right, int(y) - 2) for x, y in zip(points[::2], points[1::2], strict=True)]
    vertices, codes = species.polygon(path)
    return vertices[:-1], codes[:-1]


def _frame(rng: random.Random, pencil: Pencil) -> list[Item]:
    """A border of one or two lines, or bars above and below."""
    width = rng.uniform(5, 16)
    kind = rng.choice(("border", "double", "bars"))
    if kind == "bars":
        bars = [
            species.rectangle(-5, -5, 266, 5 + 1.6 * width),
            species.rectangle(-5, CANVAS - 1.6 * width, 266, 40),
        ]
        return [Item.plain(*figures.many(bars), figures.colour(rng))]
    round_by = rng.choice((0, 20))
    outer = species.rectangle(width / 2, width / 2, CANVAS - width, CANVAS - width, round_by)
    items = [Item.stroke(*outer, figures.colour(rng), width)]
    if kind == "double":
        inner = species.rectangle(width, width, CANVAS - 2 * width, CANVAS - 2 * width)
        items.append(Item.stroke(*inner, figures.colour(rng), 0.35 * width))
    return items


def _grass(rng: random.Random, pencil: Pencil) -> list[Item]:
    """Blades that reach in from below."""
    hue = rng.choice((rng.uniform(0.15, 0.45), rng.random()))
    high = rng.uniform(30, 75)
    start, end = sorted((rng.uniform(-20, 276), rng.uniform(-20, 276)))
    items: list[Item] = []
    for _ in range(rng.randint(5, 14)):
        x, lean, half = rng.uniform(start, end), rng.uniform(-18, 18), rng.uniform(2.5, 5.5)
        top = CANVAS - high * rng.uniform(0.6, 1)
        middle = (CANVAS + top) / 2
        blade = species.flatten(
            [
                ("M", (x - half, CANVAS + 6)),
                ("Q", (x - half / 2, middle, x + lean, top)),
                ("Q", (x + half, middle, x + half, CANVAS + 6)),
                ("Z", ()),
            ]
        )
        colour = figures.hsv(hue, rng.uniform(0.4, 0.8), rng.uniform(0.35, 0.8))
        items += pencil.draw(*blade, 2 * half, colour)
    return items


def _bar(rng: random.Random, pencil: Pencil) -> list[Item]:
    """A post or a rail, off the middle."""
    wide = rng.uniform(9, 24)
    off = rng.choice((-1, 1)) * rng.uniform(25, 80)
    bar = species.rectangle(off - wide / 2, -200, wide, 400)
    turn = rng.choice((0, 1.571)) + rng.uniform(-0.3, 0.3)
    placed = figures.placed(bar, CANVAS / 2, CANVAS / 2, figures.FIGURE, turn)
    return pencil.draw(*placed, wide, figures.colour(rng))


def _foliage(rng: random.Random, pencil: Pencil) -> list[Item]:
    """One to three large leaves or blobs that reach in from the border."""
    items: list[Item] = []
    for _ in range(rng.randint(1, 3)):
        x, y = _near_border(rng, 12)
        shape = rng.choice((figures.leaf, figures.blob))(rng)
        radius = rng.uniform(28, 58)
        placed = figures.placed(shape, x, y, radius, rng.uniform(0, 6.28))
        items += pencil.draw(*placed, radius, figures.colour(rng))
    return items


def _near_border(rng: random.Random, margin: float) -> Point:
    """A place about `margin` from one side of the canvas."""
    along, across = rng.uniform(margin, CANVAS - margin), rng.uniform(margin * 0.6, margin * 1.4)
    if rng.random() < 0.5:
        across = CANVAS - across
    return (along, across) if rng.random() < 0.5 else (across, along)


_Maker = Callable[[random.Random, Pencil], list[Item]]

DISTRACTORS: dict[str, _Maker] = {
    "none": _nothing,
    "ball": _ball,
    "text": _text,
    "frame": _frame,
}
COVERS: dict[str, _Maker] = {
    "none": _nothing,
    "grass": _grass,
    "bar": _bar,
    "leaf": _foliage,
}
