"""The nuisances of an image: all values that must not depend on its class.

They are sampled from the seed alone. Nothing in this module refers to a species, so no nuisance can
depend on the class. The settings (`datasets/drawn.yaml`) say how much each nuisance varies. They
are frozen: a change of them is a change of the data set.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, Strict, ValidationError

from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import Settings, load_yaml

# The folder of raw.zip and of data/images that holds the settings and species of the images.
FOLDER = "scenes"
SETTINGS_FILE = "settings.yaml"

STYLES = ("flat", "outlined", "shaded", "sketch", "pixelated", "plush")
BACKGROUNDS = ("plain", "gradient", "pattern", "clutter", "landscape", "creature")
DISTRACTORS = ("none", "ball", "text", "frame")
COVERS = ("none", "grass", "bar", "leaf")

Range = Annotated[
    tuple[float, float],
    Strict(False),  # YAML has lists only
    AfterValidator(lambda pair: _check_order(pair)),
]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _check_order(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("must be [lowest, highest]")
    return pair


def _frequencies_of(*names: str) -> AfterValidator:
    """Return the annotation of relative frequencies, one for each of `names`."""

    def check(weights: dict[str, float]) -> dict[str, float]:
        for name in weights:
            if name not in names:
                raise ValueError(f"{name} is not known.{did_you_mean(name, names)}")
        if set(weights) != set(names) or min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(f"needs a frequency ≥ 0 for each of {', '.join(names)}")
        return {name: weights[name] for name in names}

    return AfterValidator(check)


class DrawnSettings(Settings):
    """How scenes vary.

    Ranges are [lowest, highest]. A single number x stands for the range from −x to x, except for
    `image_px`, `cut` and `light`, which are described below.

    Attributes:
        catalogue: the folder of the species, relative to the folder of the settings file.
        image_px: side of the images.
        jpeg_quality: of the files.
        styles: style → its relative frequency.
        backgrounds: background → its relative frequency.
        distractors: distractor → its relative frequency.
        covers: cover → its relative frequency.
        swing: of each part, as a multiple of its own `data-swing`.
        growth: of each part, as a fraction of its size.
        size: the side of the creature's square as a fraction of the side of the image.
        cut: how far the creature's square may reach beyond the image, as a fraction of its side.
        turn_deg: rotation of the creature.
        shear: of the creature.
        stretch: of the creature, wider and lower or narrower and higher.
        perspective: tilt of the creature, whose near side is drawn larger.
        hue_deg: rotation of the hue of the creature's colours.
        saturation: a factor for these colours.
        brightness: a factor for these colours.
        part_colour: what is added to the colour of each part, as a fraction of the full scale.
        warmth: red against blue in the light on the whole image.
        tint: green against magenta in this light.
        light: how uneven this light is, at most.
        noise: standard deviation, on the scale of 0 to 255.
    """

    model_config = ConfigDict(extra="forbid")

    catalogue: str
    image_px: Annotated[int, Field(ge=32, le=1024)]
    jpeg_quality: Range

    styles: Annotated[dict[str, float], _frequencies_of(*STYLES)]
    backgrounds: Annotated[dict[str, float], _frequencies_of(*BACKGROUNDS)]
    distractors: Annotated[dict[str, float], _frequencies_of(*DISTRACTORS)]
    covers: Annotated[dict[str, float], _frequencies_of(*COVERS)]

    swing: Annotated[float, Field(ge=0)]
    growth: Fraction
    size: Range
    cut: Fraction
    turn_deg: Annotated[float, Field(ge=0)]
    shear: Fraction
    stretch: Fraction
    perspective: Annotated[float, Field(ge=0, lt=0.5)]

    hue_deg: Annotated[float, Field(ge=0)]
    saturation: Range
    brightness: Range
    part_colour: Fraction
    warmth: Fraction
    tint: Fraction
    light: Fraction
    noise: Range


def read_settings(path: Path) -> DrawnSettings:
    """Read the settings of drawn images from a .yaml file.

    Raises:
        InputError: the file cannot be read, or a setting is missing, does not exist or has a wrong
            value.
    """
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"cannot read the file {path}: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold lines of the form `name: value`")
    try:
        return DrawnSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key, keys = str(first["loc"][0]), DrawnSettings.model_fields
        hint = "" if key in keys else did_you_mean(key, keys)
        raise InputError(f"{path}: {key}: {first['msg']}.{hint}") from None


@dataclass(frozen=True)
class Nuisances:
    """The nuisances of one image.

    `DrawnSettings` says what those mean that have a range there.

    Attributes:
        seed: what they were sampled from.
        style: one of `STYLES`.
        background: one of `BACKGROUNDS`.
        distractor: one of `DISTRACTORS`.
        cover: one of `COVERS`.
        left: position of the creature, from −1, the leftmost that the settings allow, to 1.
        top: likewise, from the top to the bottom.
        flip: whether the creature is mirrored.
        tilt_x: perspective, how much the left and the right side differ in size.
        tilt_y: likewise for top and bottom.
        light_deg: the direction of the light.
        stroke: from 0 to 1: from thin to thick lines, and from small to large pixels.
    """

    seed: int
    style: str
    background: str
    distractor: str
    cover: str
    size: float
    left: float
    top: float
    flip: bool
    turn_deg: float
    shear: float
    stretch: float
    tilt_x: float
    tilt_y: float
    hue_deg: float
    saturation: float
    brightness: float
    warmth: float
    tint: float
    light: float
    light_deg: float
    stroke: float
    noise: float
    jpeg_quality: int


def sample(seed: int, settings: DrawnSettings) -> Nuisances:
    """Sample the nuisances of the image with this seed."""
    rng = stream(seed, "nuisances")

    def choose(weights: dict[str, float]) -> str:
        return rng.choices(list(weights), list(weights.values()))[0]

    def between(pair: tuple[float, float]) -> float:
        return round(rng.uniform(*pair), 4)

    def up_to(limit: float) -> float:
        return between((-limit, limit))

    return Nuisances(
        seed=seed,
        style=choose(settings.styles),
        background=choose(settings.backgrounds),
        distractor=choose(settings.distractors),
        cover=choose(settings.covers),
        size=between(settings.size),
        left=up_to(1),
        top=up_to(1),
        flip=rng.random() < 0.5,
        turn_deg=up_to(settings.turn_deg),
        shear=up_to(settings.shear),
        stretch=up_to(settings.stretch),
        tilt_x=up_to(settings.perspective),
        tilt_y=up_to(settings.perspective),
        hue_deg=up_to(settings.hue_deg),
        saturation=between(settings.saturation),
        brightness=between(settings.brightness),
        warmth=up_to(settings.warmth),
        tint=up_to(settings.tint),
        light=between((0, settings.light)),
        light_deg=between((0, 360)),
        stroke=between((0, 1)),
        noise=between(settings.noise),
        jpeg_quality=round(between(settings.jpeg_quality)),
    )


def stream(seed: int, purpose: str) -> random.Random:
    """Return a generator of random numbers for one purpose.

    Each purpose has its own generator: more numbers for one purpose change none for another.
    """
    return random.Random(f"{seed} {purpose}")
