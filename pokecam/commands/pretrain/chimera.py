"""Chimeras: random creatures, composed from organs, proportions and colours.

    from pokecam.commands.pretrain.chimera import Look, creature, family

    twins = family(seed=7, members=3)              # three genomes that look alike
    drawn = creature(twins[0])                     # a species, as `scene.sample` takes it
    other = creature(twins[0], Look.random(random.Random(1)))   # … as another artist drew it

Networks are pretrained on these (`pretrain`). No chimera is made after a species of the catalogue:
 every organ, proportion and colour is drawn by lot.
"""

import colorsys
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from pokecam.commands.pretrain.anatomy import TABLES, Easel, paint
from pokecam.data.drawn.species import Colour, Species

# Chance that an organ which may be missing is there.
PRESENT = {
    "ears": 0.85, "crest": 0.4, "snout": 0.75, "mouth": 0.85, "cheeks": 0.45, "belly": 0.6,
    "coat": 0.5, "back": 0.4, "tail": 0.8,
}  # fmt: skip
ABSENT = ("none", "plain")

# Proportions: factors, and the range in which they lie.
SIZES = {
    "girth": (0.75, 1.3), "pear": (0.85, 1.25), "head": (0.75, 1.3), "face": (0.85, 1.3),
    "ear": (0.5, 1.4), "crest": (0.5, 1.2), "eye": (0.6, 1.5), "apart": (0.8, 1.3),
    "snout": (0.7, 1.3), "mouth": (0.6, 1.2), "limb": (0.7, 1.4), "lift": (0.0, 0.4),
    "back": (0.7, 1.3), "tail": (0.6, 1.5),
}  # fmt: skip
COLOURS = ("main", "second", "accent", "light", "dark", "iris")
FIXED: dict[str, Colour] = {
    "black": (26, 22, 28),
    "white": (250, 250, 248),
    "tongue": (214, 92, 104),
}
VISIBLE_STEP = 60  # Euclidean distance in RGB from which a family tells two colours apart


@dataclass(frozen=True)
class Genome:
    """What makes a creature the one it is: organ → kind, proportion → factor, role → colour."""

    kinds: Mapping[str, str]
    sizes: Mapping[str, float]
    colours: Mapping[str, Colour]

    def differences(self, other: "Genome") -> set[tuple[str, str]]:
        """In what two genomes differ, as ("kinds", organ), ("sizes", proportion) and
        ("colours", role)."""
        return {
            (group, key)
            for group in ("kinds", "sizes", "colours")
            for key, mine in getattr(self, group).items()
            if mine != getattr(other, group)[key]
        }


@dataclass(frozen=True)
class Look:
    """How one image shows a creature, whichever it is.

    yaw      −1 … 1: looks left, front, right
    stretch  proportion → factor: every artist draws it a little differently
    eyes, mouth   what is there instead of the creature's own at this moment, or None
    """

    yaw: float = 0.0
    stretch: Mapping[str, float] = field(default_factory=dict)
    eyes: str | None = None
    mouth: str | None = None

    @classmethod
    def random(cls, rng: random.Random) -> "Look":
        yaw = rng.uniform(-1, 1)
        stretch = {name: rng.uniform(0.86, 1.16) for name in SIZES}
        return cls(
            yaw,
            stretch,
            "closed" if rng.random() < 0.06 else None,
            rng.choice(("gape", "smile", "grin")) if rng.random() < 0.15 else None,
        )


def conceive(rng: random.Random) -> Genome:
    """Draw a creature by lot."""
    kinds = {organ: _kind(organ, rng) for organ in TABLES}
    sizes = {name: round(rng.uniform(*span), 3) for name, span in SIZES.items()}
    return Genome(kinds, sizes, _palette(rng))


def family(seed: int, members: int) -> list[Genome]:
    """Look-alikes: a founder, and others that differ from it in two to four visible things.

    What changes is an organ (to be there or not counts) or a main colour, and sometimes the
    proportions of head and trunk as well.
    """
    rng = random.Random(f"family {seed}")
    founder = conceive(rng)
    others: list[Genome] = []
    while len(others) < members - 1:
        other = _changed(founder, rng)
        if all(other.differences(known) for known in (founder, *others)):
            others.append(other)
    return [founder, *others]


def creature(genome: Genome, look: Look | None = None, name: str = "chimera") -> Species:
    """Draw a genome, from the front and true to its proportions unless `look` says otherwise."""
    look = look or Look()
    kinds = dict(genome.kinds)
    if look.eyes and kinds["eyes"] not in ("single", "glow"):
        kinds["eyes"] = look.eyes
    if look.mouth and kinds["mouth"] != "none":
        kinds["mouth"] = look.mouth
    sizes = {key: size * look.stretch.get(key, 1.0) for key, size in genome.sizes.items()}
    return paint(Easel(kinds, {**genome.colours, **FIXED}, sizes, look.yaw), name)


def _kind(organ: str, rng: random.Random) -> str:
    table = [kind for kind in TABLES[organ] if kind not in ABSENT]
    if rng.random() < PRESENT.get(organ, 1.0):
        return rng.choice(table)
    return next(kind for kind in TABLES[organ] if kind in ABSENT)


def _changed(founder: Genome, rng: random.Random) -> Genome:
    kinds, colours, sizes = dict(founder.kinds), dict(founder.colours), dict(founder.sizes)
    organs = [organ for organ in TABLES if organ not in ("plan", "limbs")]
    for trait in rng.sample([*organs, "main", "second", "accent"], rng.randint(2, 4)):
        if trait in kinds:
            others = [kind for kind in TABLES[trait] if kind != kinds[trait]]
            kinds[trait] = rng.choice(others)
        else:
            colours[trait] = _other_colour(colours[trait], rng)
    if rng.random() < 0.4:
        for name in ("girth", "head", "face"):
            sizes[name] = round(rng.uniform(*SIZES[name]), 3)
    return Genome(kinds, sizes, colours)


def _other_colour(colour: Colour, rng: random.Random) -> Colour:
    while True:
        other = _palette(rng)["main"]
        if sum((a - b) ** 2 for a, b in zip(colour, other, strict=True)) > VISIBLE_STEP**2:
            return other


def _palette(rng: random.Random) -> Mapping[str, Colour]:
    """Colours that belong together: a main one, others near it, opposite, paler and darker."""
    hue = rng.random()
    grey = rng.random() < 0.18
    saturation = rng.uniform(0.0, 0.15) if grey else rng.uniform(0.3, 0.95)
    value = rng.uniform(0.2, 1.0) if grey else rng.uniform(0.45, 1.0)
    near = (hue + rng.uniform(-0.09, 0.09)) % 1
    far = rng.random()
    palette = {
        "main": (hue, saturation, value),
        "second": rng.choice(
            (
                (near, min(1.0, saturation * 1.15), value * rng.uniform(0.55, 0.8)),
                (near, saturation * 0.6, min(1.0, value * 1.25)),
                (far, rng.uniform(0.1, 0.9), rng.uniform(0.3, 1.0)),
            )
        ),
        "accent": (rng.random(), rng.uniform(0.5, 1.0), rng.uniform(0.55, 1.0)),
        "light": (rng.choice((near, 0.12)), rng.uniform(0.03, 0.35), rng.uniform(0.85, 1.0)),
        "dark": (near, saturation * 0.8, value * rng.uniform(0.2, 0.45)),
        "iris": (rng.random(), rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.9)),
    }
    return {role: _rgb(*hsv) for role, hsv in palette.items()}


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (round(255 * x) for x in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
