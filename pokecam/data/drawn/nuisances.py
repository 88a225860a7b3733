"""Everything about an image that must not tell which creature is in it.

Drawn from the seed alone: nothing in this module knows any species, so no nuisance can depend on
the class. How strongly each one varies is in the frozen settings (`datasets/drawn.yaml`).
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, Strict, ValidationError

from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import Settings, load_yaml

# Settings and species travel with the images, in raw.zip and data/images, in this folder.
FOLDER = "scenes"
SETTINGS_FILE = "settings.yaml"

STYLES = ("flat", "outlined", "shaded", "sketch", "pixelated", "plush")
BACKGROUNDS = ("plain", "gradient", "pattern", "clutter", "landscape", "creature")
DISTRACTORS = ("none", "ball", "text", "frame")
COVERS = ("none", "grass", "bar", "leaf")

Range = Annotated[
    tuple[float, float],
    Strict(False),  # YAML has lists only
    AfterValidator(lambda pair: _ordered(pair)),
]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("must be [lowest, highest]")
    return pair


def _weights(*names: str) -> AfterValidator:
    """Annotation for relative frequencies, one for each of `names`."""

    def check(weights: dict[str, float]) -> dict[str, float]:
        for name in weights:
            if name not in names:
                raise ValueError(f"{name} is not known.{did_you_mean(name, names)}")
        if set(weights) != set(names) or min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(f"needs a frequency ≥ 0 for each of {', '.join(names)}")
        return {name: weights[name] for name in names}

    return AfterValidator(check)


class DrawnSettings(Settings):
    """How scenes vary. Ranges are [lowest, highest]; single numbers are the largest ± amount."""

    model_config = ConfigDict(extra="forbid")

    catalogue: str
    image_px: Annotated[int, Field(ge=32, le=1024)]
    jpeg_quality: Range

    styles: Annotated[dict[str, float], _weights(*STYLES)]
    backgrounds: Annotated[dict[str, float], _weights(*BACKGROUNDS)]
    distractors: Annotated[dict[str, float], _weights(*DISTRACTORS)]
    covers: Annotated[dict[str, float], _weights(*COVERS)]

    swing: Annotated[float, Field(ge=0)]  # of each part, times its own data-swing
    growth: Fraction  # of each part
    size: Range  # side of the creature's square over the side of the image
    cut: Fraction  # how far the square may leave the image, over its own side
    turn_deg: Annotated[float, Field(ge=0)]
    shear: Fraction
    stretch: Fraction
    perspective: Annotated[float, Field(ge=0, lt=0.5)]

    hue_deg: Annotated[float, Field(ge=0)]
    saturation: Range
    brightness: Range
    part_colour: Fraction  # of each part, over the full scale
    warmth: Fraction  # red against blue in the light on the whole image
    tint: Fraction  # green against magenta
    light: Fraction  # unevenness of that light
    noise: Range  # standard deviation, 0–255


def read_settings(path: Path) -> DrawnSettings:
    """Read the settings file. Raises `InputError`, one line that names key, value and fault."""
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"cannot read the file {path}: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must be a list of lines `name: value`")
    try:
        return DrawnSettings.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key, known = str(fault["loc"][0]), DrawnSettings.model_fields
        hint = "" if key in known else did_you_mean(key, known)
        raise InputError(f"{path}: {key}: {fault['msg']}.{hint}") from None


@dataclass(frozen=True)
class Nuisances:
    """The nuisance values of one image. Lengths are fractions of the image's side."""

    seed: int
    style: str
    background: str
    distractor: str
    cover: str
    size: float
    left: float  # −1 … 1: leftmost to rightmost place that the settings allow
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
    stroke: float  # 0 … 1: thin to thick lines, small to large pixels
    noise: float
    jpeg_quality: int


def sample(seed: int, settings: DrawnSettings) -> Nuisances:
    """Draw the nuisances of the image with this seed."""
    rng = stream(seed, "nuisances")

    def choice(weights: dict[str, float]) -> str:
        return rng.choices(list(weights), list(weights.values()))[0]

    def between(pair: tuple[float, float]) -> float:
        return round(rng.uniform(*pair), 4)

    def either_way(most: float) -> float:
        return between((-most, most))

    return Nuisances(
        seed=seed,
        style=choice(settings.styles),
        background=choice(settings.backgrounds),
        distractor=choice(settings.distractors),
        cover=choice(settings.covers),
        size=between(settings.size),
        left=either_way(1),
        top=either_way(1),
        flip=rng.random() < 0.5,
        turn_deg=either_way(settings.turn_deg),
        shear=either_way(settings.shear),
        stretch=either_way(settings.stretch),
        tilt_x=either_way(settings.perspective),
        tilt_y=either_way(settings.perspective),
        hue_deg=either_way(settings.hue_deg),
        saturation=between(settings.saturation),
        brightness=between(settings.brightness),
        warmth=either_way(settings.warmth),
        tint=either_way(settings.tint),
        light=between((0, settings.light)),
        light_deg=between((0, 360)),
        stroke=between((0, 1)),
        noise=between(settings.noise),
        jpeg_quality=round(between(settings.jpeg_quality)),
    )


def stream(seed: int, purpose: str) -> random.Random:
    """Random numbers for one purpose, so that more of one kind change none of another."""
    return random.Random(f"{seed} {purpose}")
