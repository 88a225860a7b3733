"""A species: a creature made of named parts, read from a small, strict dialect of SVG.

    <svg xmlns="http://www.w3.org/2000/svg" viewBox="-128 -128 256 256">
      <g id="body" data-joint="0,40" data-swing="4"> shapes </g>
      <g id="ear-left" data-joint="-30,-70" data-swing="15" data-parent="head"> shapes </g>
    </svg>

Every part is one `<g>` directly in the `<svg>`, in painter's order: later parts cover earlier ones.
A part rotates by up to `data-swing` degrees and scales about `data-joint`. It follows the motion of
`data-parent`, by default that of the body. Shapes are path (absolute M L C Q Z), ellipse, circle,
rect and polygon. Each has a literal `fill="#rrggbb"` (or `none`), and may have stroke, stroke-width
and stroke-linecap. The dialect has nothing that a scene could not bend, illuminate or draw in
another style.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np

from pokecam.common.errors import InputError, did_you_mean

FOLDER = Path(__file__).parent / "catalogue"
HALF = 128.0  # the square of a drawing reaches from -HALF to HALF in both directions

MOVE, LINE, CLOSE = 1, 2, 79  # the codes of vertices, as in matplotlib.path.Path

Cap = Literal["butt", "round", "projecting"]  # the ends of lines, as in Matplotlib

_SVG = "{http://www.w3.org/2000/svg}"
_NAME = re.compile(r"[a-z]+(-[a-z0-9]+)*")
_NUMBER = re.compile(r"-?(\d+(\.\d)?|\.\d)")
_TOKEN = re.compile(r"[A-Za-z]|-?(?:\d+(?:\.\d+)?|\.\d+)|[^\s,]")
_COLOUR = re.compile(r"#[0-9a-f]{6}", re.IGNORECASE)
_OPTIONAL = {"rect": ("rx",)}
_PAINT = {"fill", "stroke", "stroke-width", "stroke-linecap", "stroke-linejoin"}
_CAPS: dict[str, Cap] = {"butt": "butt", "round": "round", "square": "projecting"}
_GEOMETRY = {
    "path": ("d",),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "circle": ("cx", "cy", "r"),
    "rect": ("x", "y", "width", "height"),
    "polygon": ("points",),
}
_POINTS_PER_COMMAND = {"M": 1, "L": 1, "Q": 2, "C": 3, "Z": 0}

Point = tuple[float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Shape:
    """One closed or open outline of straight lines.

    Attributes:
        vertices: float64 (n, 2), in units of the square of the drawing, y downwards.
        codes: uint8 (n,), MOVE, LINE or CLOSE; the vertex of a CLOSE is ignored.
        fill: colour of 0–255, or None for no filling.
        line: colour of 0–255, or None for no line.
        width: of the line, in the same units.
        cap: the ends of the line.
    """

    vertices: np.ndarray
    codes: np.ndarray
    fill: Colour | None
    line: Colour | None = None
    width: float = 0.0
    cap: Cap = "butt"

    @cached_property
    def extent(self) -> float:
        """The shorter side of the box around the shape, without the width of its line."""
        size = self.vertices.max(axis=0) - self.vertices.min(axis=0)
        return float(size.min())


@dataclass(frozen=True, eq=False)
class Part:
    """A named group of shapes that move together about a joint.

    Attributes:
        name: lower-case words with hyphens.
        shapes: in painter's order.
        joint: in units of the square of the drawing.
        swing_deg: how far the part rotates, either way.
        parent: the name of the part whose motion it follows, or None.
    """

    name: str
    shapes: tuple[Shape, ...]
    joint: Point = (0.0, 0.0)
    swing_deg: float = 0.0
    parent: str | None = None


@dataclass(frozen=True, eq=False)
class Species:
    """A creature.

    Attributes:
        name: of the species.
        parts: in painter's order. In masks they are numbered from 1 in this order.

    Raises:
        InputError: there is no part, two parts have one name, or a part follows one that does not
            exist or that follows it.
    """

    name: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not names:
            raise InputError(
                f"{self.name}: there is no part; a species needs one <g id=…> for each body part"
            )
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{self.name}: part {name!r} exists twice; rename one of them")
        for part in self.parts:
            if part.parent is not None and part.parent not in names:
                hint = did_you_mean(part.parent, names)
                raise InputError(
                    f"{self.name}: part {part.name!r} follows {part.parent!r}, "
                    f"which is not a part.{hint}"
                )
        _ = self.motion_order

    @cached_property
    def vertices(self) -> np.ndarray:
        """The vertices of all shapes of all parts, (n, 2)."""
        return np.concatenate([shape.vertices for part in self.parts for shape in part.shapes])

    @cached_property
    def part_of_vertex(self) -> np.ndarray:
        """The index in `parts` of each vertex, (n,)."""
        counts = [sum(len(shape.vertices) for shape in part.shapes) for part in self.parts]
        return np.repeat(np.arange(len(self.parts)), counts)

    @cached_property
    def motion_order(self) -> tuple[int, ...]:
        """The indices of `parts` in an order in which parents come before their children."""
        indices = {part.name: i for i, part in enumerate(self.parts)}
        order: list[int] = []
        for part in self.parts:
            chain: list[str] = []
            name: str | None = part.name
            while name is not None and indices[name] not in order:
                if name in chain:
                    raise InputError(
                        f"{self.name}: parts follow one another in a circle: {' → '.join(chain)}"
                    )
                chain.append(name)
                name = self.parts[indices[name]].parent
            order += [indices[link] for link in reversed(chain)]
        return tuple(order)


def catalogue(folder: Path = FOLDER) -> dict[str, Species]:
    """Read every species of a folder.

    Returns:
        Name → species, sorted by name.

    Raises:
        InputError: there is no species, or a file is not in the dialect.
    """
    return {path.stem: read_species(path) for path in files(folder)}


def files(folder: Path = FOLDER) -> list[Path]:
    """Return the file of every species of a folder, sorted by name.

    Raises:
        InputError: there is no species.
    """
    paths = sorted(folder.glob("*.svg"))
    if not paths:
        raise InputError(f"{folder} contains no species: *.svg files are expected")
    return paths


def read_species(path: Path) -> Species:
    """Read one species. Its name is that of the file without .svg.

    Raises:
        InputError: as in `parse`.
    """
    return parse(path.read_text(encoding="utf-8"), path.stem)


def parse(text: str, name: str) -> Species:
    """Read a species from the text of an SVG file.

    Args:
        text: in the dialect that is described at the top of this module.
        name: of the species.

    Raises:
        InputError: the text is not in the dialect; the message says the species, the part and the
            reason.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{name}: not well-formed XML: {error}") from None
    if root.tag != f"{_SVG}svg" or root.get("viewBox") != "-128 -128 256 256":
        raise InputError(f'{name}: <svg … viewBox="-128 -128 256 256"> expected at the top')
    return Species(name, tuple(_read_part(group, name) for group in root))


def _read_part(group: ElementTree.Element, species: str) -> Part:
    name = group.get("id", "")
    location = f"{species}, part {name!r}"
    if group.tag != f"{_SVG}g" or not _NAME.fullmatch(name):
        raise InputError(f"{location}: <g id=…> expected, the id in lower-case words with hyphens")
    _check_attributes(group, ("id", "data-joint", "data-swing", "data-parent"), location)
    joint = _read_numbers(group.get("data-joint", "").replace(",", " "), location, "data-joint")
    if len(joint) != 2:
        raise InputError(f'{location}: data-joint="x,y" expected')
    swing = _read_numbers(group.get("data-swing", "0"), location, "data-swing")
    if len(swing) != 1 or not 0 <= swing[0] <= 180:
        raise InputError(f"{location}: data-swing must be one number of degrees from 0 to 180")
    shapes = tuple(_read_shape(element, location) for element in group)
    if not shapes:
        raise InputError(f"{location}: there is no shape; a part needs at least one")
    parent = None if name == "body" else group.get("data-parent", "body")
    return Part(name, shapes, (joint[0], joint[1]), swing[0], parent)


def _read_shape(element: ElementTree.Element, location: str) -> Shape:
    kind = element.tag.removeprefix(_SVG)
    if kind not in _GEOMETRY or len(element):
        raise InputError(f"{location}: <{kind}> is not a shape; allowed are {', '.join(_GEOMETRY)}")
    attributes = {*_GEOMETRY[kind], *_OPTIONAL.get(kind, ()), *_PAINT}
    _check_attributes(element, attributes, f"{location}, <{kind}>")
    fill = _read_colour(element.get("fill"), f"{location}, <{kind}>: fill")
    line = _read_colour(element.get("stroke", "none"), f"{location}, <{kind}>: stroke")
    if fill is None and line is None:
        raise InputError(
            f"{location}, <{kind}>: neither fill nor stroke; a shape needs one of them"
        )
    width = 0.0
    if line is not None:
        widths = _read_numbers(element.get("stroke-width", "1"), location, "stroke-width")
        if len(widths) != 1 or widths[0] <= 0:
            raise InputError(f"{location}, <{kind}>: stroke-width must be one number above 0")
        width = widths[0]
    cap = element.get("stroke-linecap", "butt")
    if cap not in _CAPS:
        raise InputError(
            f"{location}, <{kind}>: stroke-linecap {cap!r}; allowed: {', '.join(_CAPS)}"
        )
    if element.get("stroke-linejoin", "round") != "round":
        raise InputError(f'{location}, <{kind}>: stroke-linejoin can only be "round"')
    vertices, codes = _read_outline(kind, element, location)
    if np.abs(vertices).max() > HALF:
        raise InputError(f"{location}, <{kind}>: reaches outside the square of -128 to 128")
    return Shape(vertices, codes, fill, line, width, _CAPS[cap])


def _read_outline(
    kind: str, element: ElementTree.Element, location: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and codes of one shape element."""
    if kind == "path":
        return flatten(_read_commands(element.get("d", ""), location))
    if kind == "polygon":
        numbers = _read_numbers(element.get("points", "").replace(",", " "), location, "points")
        if len(numbers) < 6 or len(numbers) % 2:
            raise InputError(f"{location}, <polygon>: at least three points x,y expected")
        return polygon(list(zip(numbers[::2], numbers[1::2], strict=True)))
    values = {}
    optional = (key for key in _OPTIONAL.get(kind, ()) if key in element.attrib)
    for key in (*_GEOMETRY[kind], *optional):
        numbers = _read_numbers(element.get(key, ""), location, key)
        if len(numbers) != 1 or (key[0] in "rwh" and numbers[0] <= 0):
            raise InputError(f"{location}, <{kind}>: {key} must be one number (sizes above 0)")
        values[key] = numbers[0]
    if kind == "rect":
        x, y, width, height = (values[key] for key in _GEOMETRY["rect"])
        return rectangle(x, y, width, height, values.get("rx", 0.0))
    rx, ry = (values["r"], values["r"]) if kind == "circle" else (values["rx"], values["ry"])
    return ellipse(values["cx"], values["cy"], rx, ry)


def polygon(points: Iterable[Point]) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (n, 2) and codes (n,) of the closed polygon through `points`."""
    corners = list(points)
    codes = np.full(len(corners) + 1, LINE, np.uint8)
    codes[0], codes[-1] = MOVE, CLOSE
    return np.array([*corners, corners[-1]], np.float64).round(3), codes


def rectangle(
    x: float, y: float, width: float, height: float, rx: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and codes of an upright rectangle with corners of radius `rx`."""
    right, bottom, r = x + width, y + height, min(rx, width / 2, height / 2)
    if r == 0:
        return polygon([(x, y), (right, y), (right, bottom), (x, bottom)])
    return flatten(
        [
            ("M", (x + r, y)),
            ("L", (right - r, y)),
            ("Q", (right, y, right, y + r)),
            ("L", (right, bottom - r)),
            ("Q", (right, bottom, right - r, bottom)),
            ("L", (x + r, bottom)),
            ("Q", (x, bottom, x, bottom - r)),
            ("L", (x, y + r)),
            ("Q", (x, y, x + r, y)),
            ("Z", ()),
        ]
    )


def ellipse(cx: float, cy: float, rx: float, ry: float) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and codes of an ellipse as a polygon.

    Its sides are at most 0.15 units away from the ellipse.

    Args:
        cx: x of the centre.
        cy: y of the centre.
        rx: radius in x.
        ry: radius in y.
    """
    n_sides = min(64, max(8, 4 * math.ceil(1.4 * math.sqrt(max(rx, ry)))))
    return polygon([(cx + rx * cos, cy + ry * sin) for cos, sin in _unit_circle(n_sides)])


@lru_cache
def _unit_circle(n_points: int) -> list[Point]:
    angles = [2 * math.pi * i / n_points for i in range(n_points)]
    return [(math.cos(angle), math.sin(angle)) for angle in angles]


def flatten(commands: Iterable[tuple[str, tuple[float, ...]]]) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and codes of a path; its curves become straight lines.

    Args:
        commands: absolute M, L, Q, C or Z; each is its letter and its coordinates:
            ("C", (x1, y1, x2, y2, x, y)).
    """
    points: list[Point] = []
    codes: list[int] = []
    for letter, numbers in commands:
        if letter == "Z":
            points.append(points[-1])
            codes.append(CLOSE)
        elif letter in "ML":
            points.append((numbers[0], numbers[1]))
            codes.append(MOVE if letter == "M" else LINE)
        else:
            curve = _curve_points([*points[-1], *numbers])
            points += curve
            codes += [LINE] * len(curve)
    return np.array(points).round(3), np.array(codes, np.uint8)


def _curve_points(numbers: list[float]) -> list[Point]:
    """Return points on a Bézier curve x0 y0 x1 y1 …, without the first one.

    Their number is about the square root of the length.
    """
    xs, ys = numbers[::2], numbers[1::2]
    sides = zip(pairwise(xs), pairwise(ys), strict=True)
    length = sum(math.hypot(b - a, d - c) for (a, b), (c, d) in sides)
    weights = _bernstein(len(xs) - 1, min(20, max(3, math.ceil(1.2 * math.sqrt(length)))))
    if len(xs) == 3:
        x0, x1, x2, y0, y1, y2 = *xs, *ys
        return [(a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2) for a, b, c in weights]
    x0, x1, x2, x3, y0, y1, y2, y3 = *xs, *ys
    return [
        (a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3)
        for a, b, c, d in weights
    ]


@lru_cache
def _bernstein(degree: int, n_points: int) -> list[list[float]]:
    """Return the weights of the control points at 1/n, 2/n, … 1, where n is `n_points`."""
    return [
        [
            math.comb(degree, k) * (i / n_points) ** k * (1 - i / n_points) ** (degree - k)
            for k in range(degree + 1)
        ]
        for i in range(1, n_points + 1)
    ]


def _read_commands(d: str, location: str) -> list[tuple[str, tuple[float, ...]]]:
    """Return the commands of a path. Several sets of coordinates may follow one letter."""
    commands: list[tuple[str, tuple[float, ...]]] = []
    tokens = _TOKEN.findall(d)
    i = 0
    while i < len(tokens):
        letter = tokens[i]
        if letter not in _POINTS_PER_COMMAND or (letter == "M") < (not commands):
            raise InputError(
                f"{location}, <path>: {letter!r} is not expected there; a path starts with M and "
                "has only the absolute commands M L C Q Z"
            )
        count = 2 * _POINTS_PER_COMMAND[letter]
        end = i + 1
        while end < len(tokens) and not tokens[end].isalpha():
            end += 1
        numbers = _read_numbers(" ".join(tokens[i + 1 : end]), location, f"path command {letter}")
        if (len(numbers) != 0) if count == 0 else (not numbers or len(numbers) % count):
            raise InputError(
                f"{location}, <path>: {len(numbers)} coordinates after {letter}, {count} expected"
            )
        commands += (
            [(letter, tuple(numbers[k : k + count])) for k in range(0, len(numbers), count)]
            if count
            else [(letter, ())]
        )
        i = end
    if len(commands) < 2:
        raise InputError(
            f"{location}, <path>: d={d!r} draws nothing; at least two commands are needed"
        )
    return commands


def _read_numbers(text: str, location: str, attribute: str) -> list[float]:
    """Return the numbers in a text, which spaces separate; each has at most one decimal."""
    for word in text.split():
        if not _NUMBER.fullmatch(word):
            raise InputError(
                f"{location}: {attribute}: {word!r} is not a number with at most one decimal"
            )
    return [float(word) for word in text.split()]


def _read_colour(text: str | None, location: str) -> Colour | None:
    if text == "none":
        return None
    if text is None or not _COLOUR.fullmatch(text):
        raise InputError(f'{location}: {text!r} was given, "#rrggbb" or "none" is expected')
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _check_attributes(element: ElementTree.Element, allowed: Iterable[str], location: str) -> None:
    for key in element.attrib:
        if key not in allowed:
            names = ", ".join(sorted(allowed))
            raise InputError(f"{location}: attribute {key!r} is not allowed; allowed: {names}")
