"""The anatomy of random creatures: body plans, and the positions of all organs on them.

`TABLES` has one table for each organ, from the kinds of the organ to the functions that draw them
on an `Easel`. This module is deterministic: `chimera` chooses the kinds at random and calls
`paint`. No body plan imitates a species of the catalogue. Coordinates are those of the drawing of a
species (y points down), before `Easel.species` fits the creature into its square.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pokecam.commands.pretrain import organs, strokes
from pokecam.commands.pretrain.strokes import Frame, Outline
from pokecam.data.drawn import species
from pokecam.data.drawn.species import Colour, Part, Point, Shape, Species

MARGIN = 4.0  # units between the creature and the edge of the square

# Layers. A part covers the parts of lower layers.
TAIL, WING, CAPE, LEG_BEHIND, SHELL, HIND, BODY, COAT, BELLY, LEG_BEFORE, ARM = range(11)
EAR_BEHIND, HEAD, COAT_HEAD, MASK, CHEEK, SNOUT, EAR_BEFORE, EYE, MOUTH = range(11, 20)


@dataclass
class Easel:
    """A creature while it is drawn.

    The body plan sets the positions (x, y) and the sizes (half width, half height) of head and
    trunk. The other organs depend on them.

    Attributes:
        kinds: organ → its kind.
        colours: role → colour.
        sizes: proportion → factor, around 1.
        yaw: where the creature looks: −1 is left, 0 front, 1 right.
        body, trunk: position and size of the trunk.
        head, skull: position and size of the head.
        rump: position of the tail.
        back: position of what grows on the back.
        parts: name → shapes.
        motion: name of a part → its joint, swing in degrees, and parent.
        layers: name of a part → its layer.
    """

    kinds: Mapping[str, str]
    colours: Mapping[str, Colour]
    sizes: Mapping[str, float]
    yaw: float = 0.0
    body: Point = (0.0, 30.0)
    trunk: Point = (45.0, 50.0)
    head: Point = (0.0, -45.0)
    skull: Point = (44.0, 38.0)
    rump: Point = (35.0, 60.0)
    back: Point = (0.0, 15.0)
    parts: dict[str, list[Shape]] = field(default_factory=dict)
    motion: dict[str, tuple[Point, float, str | None]] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)

    @property
    def side(self) -> float:
        """The direction of the creature: 1 if it looks right or front, −1 if left."""
        return 1.0 if self.yaw >= 0 else -1.0

    def begin_part(
        self, name: str, layer: int, joint: Point, swing_deg: float, parent: str | None = "body"
    ) -> "Pen":
        """Begin a part without shapes.

        Args:
            name: the name of the part.
            layer: parts of lower layers are behind it.
            joint: the point that it swings around.
            swing_deg: the largest swing.
            parent: the part that carries it along, None for the body.

        Returns:
            A pen that adds shapes to the part.
        """
        self.parts[name] = []
        self.motion[name] = (joint, swing_deg, parent)
        self.layers[name] = layer
        return Pen(self.parts[name], self.colours)

    def face_point(self, across: float, down: float, depth: float = 1.0) -> Point:
        """Return a point on the head, which turns with `yaw`.

        Args:
            across: half widths of the head to the right of its centre.
            down: half heights of the head below its centre.
            depth: how far the point moves when the head turns.
        """
        angle = self.yaw * 0.7 * depth
        x = across * math.cos(angle) + math.sin(angle) * 0.75
        return self.head[0] + x * self.skull[0], self.head[1] + down * self.skull[1]

    def species(self, name: str) -> Species:
        """Return the creature, moved and scaled so that it fills the square."""
        names = sorted(
            (part for part in self.parts if self.parts[part]), key=self.layers.__getitem__
        )
        vertices = np.concatenate([s.vertices for part in names for s in self.parts[part]])
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        scale = 2 * (species.HALF - MARGIN) / float((high - low).max())
        middle = (low + high) / 2

        def transform(points: np.ndarray) -> np.ndarray:
            return ((points - middle) * scale).round(1)

        parts = []
        for part in names:
            joint, swing_deg, parent = self.motion[part]
            shapes = tuple(
                Shape(transform(s.vertices), s.codes, s.fill, s.line, s.width * scale, s.cap)
                for s in self.parts[part]
            )
            x, y = transform(np.array(joint))
            parent = parent if parent is None or parent in names else "body"
            parts.append(Part(part, shapes, (float(x), float(y)), swing_deg, parent))
        return Species(name, tuple(parts))


@dataclass
class Pen:
    """Adds shapes to one part. Its methods take the role of a colour.

    Attributes:
        shapes: the shapes of the part, which the pen extends.
        colours: role → colour.
    """

    shapes: list[Shape]
    colours: Mapping[str, Colour]

    def organ(self, text: str, frame: Frame) -> None:
        """Draw strokes (in the notation of `strokes`) in a frame."""
        self.shapes += strokes.draw(text, frame, self.colours)

    def oval(self, colour: str, x: float, y: float, rx: float, ry: float) -> None:
        """Draw an ellipse."""
        self._fill(colour, species.ellipse(x, y, rx, ry))

    def smooth(self, colour: str, points: Sequence[Point]) -> None:
        """Draw a closed curve that `points` pull towards themselves."""
        self._fill(colour, strokes.smooth(points))

    def limb(self, colour: str, path: Sequence[Point], start: float, end: float) -> None:
        """Draw a bent limb along the Bézier curve of three points.

        Args:
            colour: a role.
            path: the three points.
            start, end: half widths at its ends.
        """
        for outline in strokes.limb(path, start, end):
            self._fill(colour, outline)

    def _fill(self, colour: str, outline: Outline) -> None:
        self.shapes.append(Shape(*outline, self.colours[colour]))


Organ = Callable[[Easel], None]  # draws an organ
Mount = Callable[[Easel, str], None]  # draws strokes where an organ belongs


def paint(easel: Easel, name: str) -> Species:
    """Draw every organ of the easel's `kinds` and return the creature under a name."""
    for organ, table in TABLES.items():
        table[easel.kinds[organ]](easel)
    return easel.species(name)


# Body plans: trunk, limbs, and the positions of the other organs --------------------------------


def biped(e: Easel) -> None:
    """Draw a trunk upright on two legs, with arms."""
    _set_head(e, e.yaw * 8, -52, 42, 37)
    _trunk(e, 0, 25, 40, 48)
    e.rump, e.back = (-30 * e.side, 50), (0, 8)
    stance = 24 * e.sizes["girth"]
    for name, s in (("left", -1), ("right", 1)):
        _leg(e, f"leg-{name}", LEG_BEHIND, (s * stance, 55), (s * (stance + 6), 88), s)
        _arm(e, f"arm-{name}", (s * e.trunk[0] * 0.85, 2), s)


def quadruped(e: Easel) -> None:
    """Draw a trunk on four legs, seen from the side or half turned."""
    _set_head(e, e.side * 48, -38, 38, 34)
    _trunk(e, -8 * e.side, 22, 62, 38)
    e.rump, e.back = (-62 * e.side, 5), (-10 * e.side, -8)
    for i, x in enumerate((38, 18, -30, -50)):
        layer = LEG_BEHIND if i % 2 else LEG_BEFORE
        _leg(e, f"leg-{i + 1}", layer, (e.side * x, 38), (e.side * x, 84), e.side)


def serpent(e: Easel) -> None:
    """Draw a long body in coils, without limbs."""
    side, thick = e.side, 21 * e.sizes["girth"]
    _set_head(e, side * 10, -66, 32, 28)
    pen = e.begin_part("body", BODY, (0, 60), 5, None)
    pen.limb("main", ((-60 * side, 82), (30 * side, 110), (58 * side, 66)), thick * 0.75, thick)
    pen.limb("main", ((58 * side, 66), (50 * side, 22), (-14 * side, 26)), thick, thick)
    pen.limb("main", ((-14 * side, 26), (-52 * side, 8), (6 * side, -56)), thick, thick * 0.8)
    e.body, e.trunk = (-12 * side, 18), (thick * 0.9, 30.0)
    e.rump, e.back = (-60 * side, 80), (-24 * side, 0)


def ball(e: Easel) -> None:
    """Draw a body that is all head, with little feet and hands."""
    e.head, e.skull = (0, 0), (66 * e.sizes["face"], 62)
    pen = e.begin_part("body", BODY, (0, 40), 4, None)
    pen.oval("main", 0, 2, e.skull[0] * 0.96, e.skull[1] * 0.97)
    e.body, e.trunk = (0, 38), (44, 24)
    e.rump, e.back = (-50 * e.side, 30), (0, -10)
    for name, s in (("left", -1), ("right", 1)):
        _leg(e, f"leg-{name}", LEG_BEHIND, (s * 28, 50), (s * 32, 70), s)
        _arm(e, f"arm-{name}", (s * e.skull[0] * 0.9, 12), s)


def bird(e: Easel) -> None:
    """Draw a trunk on two thin legs, with wings as arms."""
    _set_head(e, e.side * 12, -56, 32, 29)
    _trunk(e, 0, 14, 42, 46)
    e.rump, e.back = (-34 * e.side, 42), (-8 * e.side, 0)
    reach = 40 * e.sizes["limb"]
    for name, s in (("left", -1), ("right", 1)):
        pen = e.begin_part(f"leg-{name}", LEG_BEHIND, (s * 14, 52), 14)
        pen.limb("second", ((s * 14, 50), (s * 17, 70), (s * 15, 88)), 4, 3)
        for toe in (-9, 0, 9):
            pen.limb("second", ((s * 15, 88), (s * 15 + toe, 92), (s * 15 + toe * 1.4, 96)), 3, 2)
        wing, x = e.begin_part(f"wing-{name}", ARM, (s * 32, -8), 28), s * 32
        tip = x + s * reach
        wing.smooth("dark", [(x, -22), (tip, -8), (tip, 44), (x + s * 8, 40), (x, 8)])
        inner = [(x, -20), (x + s * reach * 0.7, -8), (x + s * reach * 0.6, 22), (x, 8)]
        wing.smooth("main", inner)


def blob(e: Easel) -> None:
    """Draw a heap without legs."""
    _set_head(e, 0, -22, 44, 36)
    e.body, e.trunk = (0, 34), (50, 36)
    w = 70 * e.sizes["girth"]
    right = [(30, -48), (48, 0), (w, 40), (w * 1.15, 78), (w * 0.4, 66)]
    pen = e.begin_part("body", BODY, (0, 60), 5, None)
    pen.smooth("main", [*right, (0, 84), *((-x, y) for x, y in reversed(right))])
    e.rump, e.back = (-56 * e.side, 50), (0, 10)
    for name, s in (("left", -1), ("right", 1)):
        _arm(e, f"arm-{name}", (s * 46, 14), s)


def insect(e: Easel) -> None:
    """Draw three segments and six thin legs."""
    side = e.side
    _set_head(e, side * 44, -34, 34, 31)
    for i in range(6):
        x = side * (22 - 24 * (i // 2)) + 6 * (i % 2)
        pen = e.begin_part(f"leg-{i + 1}", LEG_BEHIND if i % 2 else LEG_BEFORE, (x, 34), 18)
        pen.limb("dark", ((x, 34), (x + 14 * side, 52), (x - 4 * side, 80)), 5, 3)
    _trunk(e, 8 * side, 12, 34, 31)
    hind = e.begin_part("abdomen", HIND, (-20 * side, 20), 8)
    hind.oval("second", -44 * side, 26, 40 * e.sizes["girth"], 32)
    hind.organ("line dark 4u -36,-4 -50,26 -40,56", Frame(0, 0, side, 1))
    e.rump, e.back = (-76 * side, 22), (-10 * side, -6)


def fish(e: Easel) -> None:
    """Draw a trunk with fins and without other limbs."""
    side = e.side
    _set_head(e, side * 30, 0, 42, 42)
    _trunk(e, -10 * side, 6, 68, 46)
    e.rump, e.back = (-72 * side, 4), (-16 * side, -30)
    frame = Frame(0, 0, side, 1)
    e.begin_part("fin", ARM, (-6 * side, 22), 24).organ(
        "smooth second 6,14 -30,22 -46,60 -6,44", frame
    )
    e.begin_part("fin-low", LEG_BEHIND, (0, 44), 18).organ(
        "edged second 14,40 -20,74 -26,42", frame
    )


def _set_head(e: Easel, x: float, y: float, rx: float, ry: float) -> None:
    factor = e.sizes["head"]
    e.head, e.skull = (x, y), (rx * factor * e.sizes["face"], ry * factor)


def _trunk(e: Easel, x: float, y: float, rx: float, ry: float) -> None:
    """Draw an upright oval, wider above or below by the proportion `pear`."""
    e.body, e.trunk = (x, y), (rx * e.sizes["girth"], ry)
    points = strokes.ring(x, y, e.trunk[0] * 1.12, ry * 1.12, 10)
    widening = e.sizes["pear"] - 1
    pen = e.begin_part("body", BODY, (x, y + ry * 0.5), 4, None)
    pen.smooth("main", [(x + (a - x) * (1 + widening * (b - y) / ry), b) for a, b in points])


def _leg(e: Easel, name: str, layer: int, top: Point, end: Point, s: float) -> None:
    half = 12 * e.sizes["limb"]
    pen = e.begin_part(name, layer, top, 14)
    middle = ((top[0] + end[0]) / 2, (top[1] + end[1]) / 2)
    pen.limb("main", (top, middle, end), half * 1.2, half)
    pen.organ(organs.FEET[e.kinds["limbs"]], Frame(*end, s * half, half))


def _arm(e: Easel, name: str, top: Point, s: float) -> None:
    half = 8.5 * e.sizes["limb"]
    end = (top[0] + s * 26 * e.sizes["limb"], top[1] + 30 * (1.1 - e.sizes["lift"]))
    pen = e.begin_part(name, ARM, top, 30)
    pen.limb("main", (top, (top[0] + s * 20, top[1] + 8), end), half * 1.1, half)
    kind = "stub" if e.kinds["limbs"] == "hoof" else e.kinds["limbs"]
    pen.organ(organs.FEET[kind], Frame(*end, s * half, half))


# Mounts: the positions and sizes of the organs -------------------------------------------------


def _on_head(e: Easel, text: str) -> None:
    swing_deg = 0 if e.kinds["plan"] == "ball" else 10
    pen = e.begin_part("head", HEAD, (e.head[0], e.head[1] + e.skull[1] * 0.7), swing_deg)
    pen.organ(text, Frame(*e.head, *e.skull))


def _ears(layer: int) -> Mount:
    def mount(e: Easel, text: str) -> None:
        size = e.skull[1] * e.sizes["ear"]
        for name, s in (("left", -1), ("right", 1)):
            root = e.face_point(s * 0.66, -0.68, 0.5)
            pen = e.begin_part(f"ear-{name}", layer, root, 18, "head")
            pen.organ(text, Frame(*root, s * size, size))

    return mount


def _crest(layer: int) -> Mount:
    def mount(e: Easel, text: str) -> None:
        x, y = e.face_point(0, -0.95, 0.4)
        size = e.skull[1] * e.sizes["crest"]
        pen = e.begin_part("crest", layer, (x, y), 14, "head")
        pen.organ(text, Frame(x, y + e.skull[1] * 0.1, size, size))

    return mount


def _eyes(e: Easel, text: str) -> None:
    size = e.skull[1] * 0.27 * e.sizes["eye"]
    for name, s in (("left", -1), ("right", 1)):
        x, y = e.face_point(s * 0.44 * e.sizes["eye_distance"], -0.12)
        if abs(x - e.head[0]) < 0.95 * e.skull[0]:  # otherwise it is on the far side
            pen = e.begin_part(f"eye-{name}", EYE, (x, y), 4, "head")
            pen.organ(text, Frame(x + e.yaw * size * 0.3, y, s * size, size))


def _single_eye(e: Easel, text: str) -> None:
    size = e.skull[1] * 0.4 * e.sizes["eye"]
    x, y = e.face_point(0, -0.12)
    pen = e.begin_part("eye-middle", EYE, (x, y), 4, "head")
    pen.organ(text, Frame(x + e.yaw * size * 0.2, y, size, size))


def _snout(e: Easel, text: str) -> None:
    centre, size = e.face_point(0, 0.3, 1.25), e.skull[1] * e.sizes["snout"]
    pen = e.begin_part("snout", SNOUT, centre, 5, "head")
    pen.organ(text, Frame(*centre, size, size, lean=e.yaw * size))


def _mouth(e: Easel, text: str) -> None:
    centre, size = e.face_point(0, 0.58, 1.15), e.skull[0] * 0.5 * e.sizes["mouth"]
    e.begin_part("mouth", MOUTH, centre, 4, "head").organ(text, Frame(*centre, size, size))


def _cheeks(e: Easel, text: str) -> None:
    size = e.skull[1] * 0.17
    for name, s in (("left", -1), ("right", 1)):
        x, y = e.face_point(s * 0.72, 0.38, 0.9)
        if abs(x - e.head[0]) < 0.92 * e.skull[0]:
            pen = e.begin_part(f"cheek-{name}", CHEEK, (x, y), 3, "head")
            pen.organ(text, Frame(x, y, s * size, size))


def _mask(e: Easel) -> None:
    """Draw a darker area around both eyes."""
    frame = Frame(*e.face_point(0, -0.1, 0.9), *e.skull)
    e.begin_part("mask", MASK, e.head, 2, "head").organ("oval second 0,0 .72,.33", frame)


def _belly(e: Easel, text: str) -> None:
    x = e.body[0] + e.yaw * e.trunk[0] * 0.3
    e.begin_part("belly", BELLY, e.body, 2).organ(text, Frame(x, e.body[1], *e.trunk))


def _coat(e: Easel, text: str) -> None:
    e.begin_part("coat", COAT, e.body, 1).organ(text, Frame(*e.body, *e.trunk))
    brow = (e.head[0], e.head[1] - e.skull[1] * 0.45)
    pen = e.begin_part("coat-head", COAT_HEAD, e.head, 1, "head")
    pen.organ(text, Frame(*brow, e.skull[0] * 0.8, e.skull[1] * 0.5))


def _broad_back(layer: int) -> Mount:
    def mount(e: Easel, text: str) -> None:
        width, height = (extent * e.sizes["back"] for extent in e.trunk)
        e.begin_part("back", layer, e.back, 4).organ(text, Frame(*e.back, width, height))

    return mount


def _growing_back(e: Easel, text: str) -> None:
    size = e.trunk[0] * e.sizes["back"]
    frame = Frame(e.back[0], e.back[1] - e.trunk[1] * 0.65, size, size)
    e.begin_part("back", SHELL, e.back, 6).organ(text, frame)


def _wings(e: Easel, text: str) -> None:
    size = 46 * e.sizes["back"]
    for name, s in (("left", -1), ("right", 1)):
        root = (e.back[0] + s * e.trunk[0] * 0.3, e.back[1] - 6)
        pen = e.begin_part(f"back-{name}", WING, root, 20)
        pen.organ(text, Frame(*root, s * size, size))


def _tail(e: Easel, text: str) -> None:
    size = 46 * e.sizes["tail"]
    e.begin_part("tail", TAIL, e.rump, 22).organ(text, Frame(*e.rump, -e.side * size, size))


def _table(texts: Mapping[str, str], mount: Mount, **exceptions: Mount) -> dict[str, Organ]:
    """Return kind → organ, for a table of `organs`: all with one mount but for the exceptions."""
    return {kind: _organ(text, exceptions.get(kind, mount)) for kind, text in texts.items()}


def _organ(text: str, mount: Mount) -> Organ:
    return (lambda e: mount(e, text)) if text else (lambda e: None)


PLANS: dict[str, Organ] = {
    plan.__name__: plan for plan in (biped, quadruped, serpent, ball, bird, blob, insect, fish)
}
_EARS_IN_FRONT = _ears(EAR_BEFORE)
_CREST_IN_FRONT = _crest(EAR_BEFORE)

# The order matters: the plan sets the positions of the other organs. The plan draws the limbs, too.
# The entry "limbs" only lists the kinds of their ends.
TABLES: dict[str, dict[str, Organ]] = {
    "plan": PLANS,
    "limbs": _table(dict.fromkeys(organs.FEET, ""), _on_head),
    "head": _table(organs.HEADS, _on_head),
    "ears": _table(
        organs.EARS,
        _ears(EAR_BEHIND),
        floppy=_EARS_IN_FRONT,
        horn=_EARS_IN_FRONT,
        antenna=_EARS_IN_FRONT,
    ),
    "crest": _table(
        organs.CRESTS,
        _crest(EAR_BEHIND),
        unicorn=_CREST_IN_FRONT,
        flower=_CREST_IN_FRONT,
        gem=_CREST_IN_FRONT,
        forelock=_CREST_IN_FRONT,
        cap=_crest(MASK),
    ),
    "eyes": _table(organs.EYES, _eyes) | {"single": _organ(organs.EYES["open"], _single_eye)},
    "snout": _table(organs.SNOUTS, _snout),
    "mouth": _table(organs.MOUTHS, _mouth),
    "cheeks": _table(organs.CHEEKS, _cheeks) | {"mask": _mask},
    "belly": _table(organs.BELLIES, _belly),
    "coat": _table(organs.COATS, _coat),
    "back": {
        "none": _organ("", _wings),
        "shell": _organ(organs.BROAD_BACKS["shell"], _broad_back(SHELL)),
        **_table(organs.GROWING_BACKS, _growing_back),
        **_table(organs.WINGS, _wings),
        "spines": _organ(organs.BROAD_BACKS["spines"], _broad_back(SHELL)),
        "cape": _organ(organs.BROAD_BACKS["cape"], _broad_back(CAPE)),
    },
    "tail": _table(organs.TAILS, _tail),
}
