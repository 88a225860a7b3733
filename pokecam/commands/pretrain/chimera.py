"""Chimeras: random creatures, composed from organs, proportions and colours.

    from pokecam.commands.pretrain.chimera import Look, creature, family

    genomes = family(seed=7, members=3)     # three look-alikes
    species = creature(genomes[0])          # a species, as `scene.sample` takes it
    look = Look.random(random.Random(1))
    species = creature(genomes[0], look)    # the same creature as another artist draws it

Networks are pretrained on these (`pretrain`). No chimera imitates a species of the catalogue: every
organ, proportion and colour is random.
"""

import colorsys
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from pokecam.commands.pretrain.anatomy import TABLES, Easel, paint
from pokecam.data.drawn.species import Colour, Species

# Organs that a creature can lack, and the probability that it has them.
PRESENCE = {
    "ears": 0.85, "crest": 0.4, "snout": 0.75, "mouth": 0.85, "cheeks": 0.45, "belly": 0.6,
    "coat": 0.5, "back": 0.4, "tail": 0.8,
}  # fmt: skip
ABSENT = ("none", "plain")  # the kinds of an organ that a creature lacks

# Proportions: the range of each factor.
SIZES = {
    "girth": (0.75, 1.3), "pear": (0.85, 1.25), "head": (0.75, 1.3), "face": (0.85, 1.3),
    "ear": (0.5, 1.4), "crest": (0.5, 1.2), "eye": (0.6, 1.5), "eye_distance": (0.8, 1.3),
    "snout": (0.7, 1.3), "mouth": (0.6, 1.2), "limb": (0.7, 1.4), "lift": (0.0, 0.4),
    "back": (0.7, 1.3), "tail": (0.6, 1.5),
}  # fmt: skip
COLOURS = ("main", "second", "accent", "light", "dark", "iris")
FIXED: dict[str, Colour] = {
    "black": (26, 22, 28),
    "white": (250, 250, 248),
    "tongue": (214, 92, 104),
}
VISIBLE_STEP = 60  # Euclidean distance in RGB that two colours of look-alikes exceed


@dataclass(frozen=True)
class Genome:
    """What all images of a creature have in common.

    Attributes:
        kinds: organ → its kind.
        sizes: proportion → factor.
        colours: role → colour.
    """

    kinds: Mapping[str, str]
    sizes: Mapping[str, float]
    colours: Mapping[str, Colour]

    def differences(self, other: "Genome") -> set[tuple[str, str]]:
        """Return in what two genomes differ, as ("kinds", organ), ("sizes", proportion) and
        ("colours", role)."""
        return {
            (group, key)
            for group in ("kinds", "sizes", "colours")
            for key, value in getattr(self, group).items()
            if value != getattr(other, group)[key]
        }


@dataclass(frozen=True)
class Look:
    """How one image shows a creature, independent of its genome.

    Attributes:
        yaw: where the creature looks: −1 is left, 0 front, 1 right.
        stretch: proportion → factor, because every artist draws a creature a little differently.
        eyes: the kind of eyes in this image, or None for that of the genome.
        mouth: the same for the mouth.
    """

    yaw: float = 0.0
    stretch: Mapping[str, float] = field(default_factory=dict)
    eyes: str | None = None
    mouth: str | None = None

    @classmethod
    def random(cls, rng: random.Random) -> "Look":
        """Return a random look."""
        yaw = rng.uniform(-1, 1)
        stretch = {name: rng.uniform(0.86, 1.16) for name in SIZES}
        return cls(
            yaw,
            stretch,
            "closed" if rng.random() < 0.06 else None,
            rng.choice(("gape", "smile", "grin")) if rng.random() < 0.15 else None,
        )


def random_genome(rng: random.Random) -> Genome:
    """Return a random genome."""
    kinds = {organ: _random_kind(organ, rng) for organ in TABLES}
    sizes = {name: round(rng.uniform(*limits), 3) for name, limits in SIZES.items()}
    return Genome(kinds, sizes, _random_palette(rng))


def family(seed: int, members: int) -> list[Genome]:
    """Return the genomes of look-alikes.

    The first is random. Each further one differs from it in two to four visible traits. A trait is
    the kind of an organ (also whether the creature has it) or a main colour. Sometimes the
    proportions of head and trunk differ as well.

    Args:
        seed: decides the family.
        members: how many genomes.
    """
    rng = random.Random(f"family {seed}")
    genomes = [random_genome(rng)]
    while len(genomes) < members:
        candidate = _mutate(genomes[0], rng)
        if all(candidate.differences(genome) for genome in genomes):
            genomes.append(candidate)
    return genomes


def creature(genome: Genome, look: Look | None = None, name: str = "chimera") -> Species:
    """Draw a genome.

    Args:
        genome: what to draw.
        look: how to draw it. None: from the front, with the proportions of the genome.
        name: the name of the species.
    """
    look = look or Look()
    kinds = dict(genome.kinds)
    if look.eyes and kinds["eyes"] not in ("single", "glow"):
        kinds["eyes"] = look.eyes
    if look.mouth and kinds["mouth"] != "none":
        kinds["mouth"] = look.mouth
    sizes = {key: size * look.stretch.get(key, 1.0) for key, size in genome.sizes.items()}
    return paint(Easel(kinds, {**genome.colours, **FIXED}, sizes, look.yaw), name)


def _random_kind(organ: str, rng: random.Random) -> str:
    kinds = [kind for kind in TABLES[organ] if kind not in ABSENT]
    if rng.random() < PRESENCE.get(organ, 1.0):
        return rng.choice(kinds)
    return next(kind for kind in TABLES[organ] if kind in ABSENT)


def _mutate(genome: Genome, rng: random.Random) -> Genome:
    """Return a look-alike of a genome."""
    kinds, colours, sizes = dict(genome.kinds), dict(genome.colours), dict(genome.sizes)
    organs = [organ for organ in TABLES if organ not in ("plan", "limbs")]
    for trait in rng.sample([*organs, "main", "second", "accent"], rng.randint(2, 4)):
        if trait in kinds:
            kinds[trait] = rng.choice([kind for kind in TABLES[trait] if kind != kinds[trait]])
        else:
            colours[trait] = _different_colour(colours[trait], rng)
    if rng.random() < 0.4:
        for name in ("girth", "head", "face"):
            sizes[name] = round(rng.uniform(*SIZES[name]), 3)
    return Genome(kinds, sizes, colours)


def _different_colour(colour: Colour, rng: random.Random) -> Colour:
    """Return a random colour that is visibly different."""
    while True:
        other = _random_palette(rng)["main"]
        if sum((a - b) ** 2 for a, b in zip(colour, other, strict=True)) > VISIBLE_STEP**2:
            return other


def _random_palette(rng: random.Random) -> Mapping[str, Colour]:
    """Return colours that go together: a main colour, and colours with a similar or any hue, paler
    and darker."""
    hue = rng.random()
    is_grey = rng.random() < 0.18
    saturation = rng.uniform(0.0, 0.15) if is_grey else rng.uniform(0.3, 0.95)
    value = rng.uniform(0.2, 1.0) if is_grey else rng.uniform(0.45, 1.0)
    similar_hue = (hue + rng.uniform(-0.09, 0.09)) % 1
    any_hue = rng.random()
    palette = {
        "main": (hue, saturation, value),
        "second": rng.choice(
            (
                (similar_hue, min(1.0, saturation * 1.15), value * rng.uniform(0.55, 0.8)),
                (similar_hue, saturation * 0.6, min(1.0, value * 1.25)),
                (any_hue, rng.uniform(0.1, 0.9), rng.uniform(0.3, 1.0)),
            )
        ),
        "accent": (rng.random(), rng.uniform(0.5, 1.0), rng.uniform(0.55, 1.0)),
        "light": (rng.choice((similar_hue, 0.12)), rng.uniform(0.03, 0.35), rng.uniform(0.85, 1.0)),
        "dark": (similar_hue, saturation * 0.8, value * rng.uniform(0.2, 0.45)),
        "iris": (rng.random(), rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.9)),
    }
    return {role: _rgb(*hsv) for role, hsv in palette.items()}


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (round(255 * x) for x in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
