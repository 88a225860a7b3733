"""A scene: one creature in one image, everything in it decided by one seed.

    from pathlib import Path
    from pokecam.data.drawn import nuisances, render, scene, species

    settings = nuisances.read_settings(Path("datasets/drawn.yaml"))
    pikachu = species.catalogue()["Pikachu"]  # or species.parse(svg_text, "name")
    one = scene.sample(pikachu, seed=7, settings=settings)
    pixels = render.image(one, 256)    # uint8 (256, 256, 3)
    no_tail = render.image(one, 256, without=frozenset({"tail"}))
    labels = render.mask(one, 256)       # uint8 (256, 256), 1 = first part, 0 none
    jpeg = render.finish(pixels, one)    # bytes, with noise

`one.nuisances` has the values behind it. Without its parts, a scene is the same for every species.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pokecam.data.drawn import backdrop
from pokecam.data.drawn.nuisances import DrawnSettings, Nuisances, stream
from pokecam.data.drawn.nuisances import sample as sample_nuisances
from pokecam.data.drawn.pencil import CANVAS, Item, Pencil
from pokecam.data.drawn.species import HALF, Colour, Species

Box = tuple[float, float, float, float]  # left, top, right, bottom on the canvas
Affine = tuple[float, float, float, float, float, float]  # x' = a x + b y + c, y' = d x + e y + f


@dataclass(frozen=True, eq=False)
class PartDrawing:
    """A part as it is painted, and the box around everything it paints."""

    name: str
    items: tuple[Item, ...]
    box: Box


@dataclass(frozen=True)
class Light:
    """Coloured light: factors for red, green and blue (128 is neutral), times
    1 + across x + down y at the place (x, y) of the image, both from −1 to 1."""

    tones: tuple[int, ...] = (128, 128, 128)
    across: float = 0.0
    down: float = 0.0


@dataclass(frozen=True, eq=False)
class Surface:
    """How parts catch the light: see `render`."""

    light_x: float
    light_y: float
    slope: float
    rim: float
    steps: bool = False
    hatch: bool = False
    texture: np.ndarray | None = None  # float32 (64, 64), added to the brightness


@dataclass(frozen=True, eq=False)
class Scene:
    """All that `render` needs.

    base    uint8 (k, k, 3): coarse colours of the ground, stretched over the image
    behind  items behind the creature
    parts   the creature's, in painter's order
    front   items before it: what occludes it, distractors, a frame
    light   on everything
    surface volume and texture of the parts, or None for flat ones
    blocks  side of the image in visible pixels, or None for a smooth image
    """

    nuisances: Nuisances
    base: np.ndarray
    behind: tuple[Item, ...]
    parts: tuple[PartDrawing, ...]
    front: tuple[Item, ...]
    light: Light
    surface: Surface | None
    blocks: int | None


def sample(species: Species, seed: int, settings: DrawnSettings) -> Scene:
    """Place `species` in the scene that belongs to `seed`."""
    nuisances = sample_nuisances(seed, settings)
    ground = backdrop.sample(nuisances)
    return Scene(
        nuisances=nuisances,
        base=ground.base,
        behind=ground.behind,
        parts=_creature(species, nuisances, settings),
        front=ground.front,
        light=_light(nuisances),
        surface=_surface(nuisances),
        blocks=round(88 - 32 * nuisances.stroke) if nuisances.style == "pixelated" else None,
    )


def _creature(
    species: Species, nuisances: Nuisances, settings: DrawnSettings
) -> tuple[PartDrawing, ...]:
    """The parts, posed, coloured and seen from the scene's viewpoint."""
    rng = stream(nuisances.seed, "pose")
    pencil = Pencil(nuisances, nuisances.size, "creature")
    recolour = _recolouring(nuisances)
    project = _projection(nuisances, settings)
    poses = _poses(species, settings, rng)
    seen = project(species.vertices, np.array(poses)[species.part_of_vertex])
    traces = pencil.trace(seen)
    first_vertex = np.searchsorted(species.part_of_vertex, np.arange(len(species.parts)))
    low = np.min([np.minimum.reduceat(trace, first_vertex) for trace in traces], axis=0)
    high = np.max([np.maximum.reduceat(trace, first_vertex) for trace in traces], axis=0)
    parts = []
    start = 0
    for i, part in enumerate(species.parts):
        shift = [rng.uniform(-1, 1) * settings.part_colour * 255 for _ in range(3)]
        items: list[Item] = []
        for shape in part.shapes:
            end = start + len(shape.vertices)
            fill = shape.fill and recolour(shape.fill, shift)
            line = shape.line and recolour(shape.line, shift)
            items += pencil.draw_traced(
                [trace[start:end] for trace in traces],
                shape.codes,
                shape.extent,
                fill,
                line,
                shape.width,
                shape.cap,
            )
            start = end
        border = max(item.width for item in items)
        (left, top), (right, bottom) = (low[i] - border).tolist(), (high[i] + border).tolist()
        parts.append(PartDrawing(part.name, tuple(items), (left, top, right, bottom)))
    return tuple(parts)


def _poses(species: Species, settings: DrawnSettings, rng: random.Random) -> list[Affine]:
    """How each part moves within the drawing's square: by itself, then as its parent does."""
    own = [
        _about(
            part.joint,
            math.radians(rng.uniform(-1, 1) * part.swing_deg * settings.swing),
            1 + rng.uniform(-1, 1) * settings.growth,
        )
        for part in species.parts
    ]
    place = {part.name: i for i, part in enumerate(species.parts)}
    moved = list(own)
    for i in species.motion_order:
        parent = species.parts[i].parent
        if parent is not None:
            moved[i] = _after(moved[place[parent]], own[i])
    return moved


def _projection(
    nuisances: Nuisances, settings: DrawnSettings
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The viewpoint: a function from vertices (n, 2) and their poses (n, 6) to the canvas.

    Flip, stretch, shear and turn, then perspective (division by 1 + tilt_x x + tilt_y y, the
    square reaching from −1 to 1), size and place.
    """
    turn = math.radians(nuisances.turn_deg)
    cos, sin = round(math.cos(turn), 6), round(math.sin(turn), 6)
    wide = (-1 if nuisances.flip else 1) * (1 + nuisances.stretch) / HALF
    high = (1 - nuisances.stretch) / HALF
    lean = nuisances.shear / HALF
    view = (cos * wide, cos * lean - sin * high, sin * wide, sin * lean + cos * high)
    half = nuisances.size * CANVAS / 2
    reach = max(0.0, CANVAS / 2 - half) + settings.cut * 2 * half
    centre_x = CANVAS / 2 + reach * nuisances.left
    centre_y = CANVAS / 2 + reach * nuisances.top

    def project(vertices: np.ndarray, poses: np.ndarray) -> np.ndarray:
        x, y = vertices[:, 0], vertices[:, 1]
        a, b, c, d, e, f = poses.T
        x, y = a * x + b * y + c, d * x + e * y + f
        across, down = view[0] * x + view[1] * y, view[2] * x + view[3] * y
        nearness = half / (1 + nuisances.tilt_x * across + nuisances.tilt_y * down)
        seen = np.stack([centre_x + across * nearness, centre_y + down * nearness], axis=1)
        return seen.round(2)

    return project


def _recolouring(nuisances: Nuisances) -> Callable[[Colour, list[float]], Colour]:
    """A function from a colour of the drawing and a part's own shift to the scene's colour.

    Turns the hue and changes the saturation around the luminance, then the brightness.
    """
    turn = math.radians(nuisances.hue_deg)
    cos = round(math.cos(turn), 6) * nuisances.saturation
    sin = round(math.sin(turn), 6) * nuisances.saturation
    rows = (
        (
            0.213 + cos * 0.787 - sin * 0.213,
            0.715 * (1 - cos - sin),
            0.072 * (1 - cos) + sin * 0.928,
        ),
        (
            0.213 * (1 - cos) + sin * 0.143,
            0.715 + cos * 0.285 + sin * 0.14,
            0.072 * (1 - cos) - sin * 0.283,
        ),
        (
            0.213 * (1 - cos) - sin * 0.787,
            0.715 * (1 - cos + sin),
            0.072 + cos * 0.928 + sin * 0.072,
        ),
    )

    def recolour(colour: Colour, shift: list[float]) -> Colour:
        red, green, blue = (
            min(
                255,
                max(
                    0,
                    round(
                        nuisances.brightness * (r * colour[0] + g * colour[1] + b * colour[2]) + own
                    ),
                ),
            )
            for (r, g, b), own in zip(rows, shift, strict=True)
        )
        return red, green, blue

    return recolour


def _light(nuisances: Nuisances) -> Light:
    """The light's colour, and how much brighter it is on one side."""
    turn = math.radians(nuisances.light_deg)
    tones = (1 + nuisances.warmth, 1 + nuisances.tint, 1 - nuisances.warmth)
    return Light(
        tones=tuple(round(128 * tone) for tone in tones),
        across=nuisances.light * round(math.cos(turn), 6) / 1.5,
        down=nuisances.light * round(math.sin(turn), 6) / 1.5,
    )


def _surface(nuisances: Nuisances) -> Surface | None:
    """Volume and texture that belong to the style."""
    rng = stream(nuisances.seed, "surface")
    turn = math.radians(nuisances.light_deg)
    x, y = round(math.cos(turn), 6), round(math.sin(turn), 6)
    if nuisances.style == "shaded":
        steps = rng.random() < 0.4
        return Surface(x, y, slope=rng.uniform(0.2, 0.38), rim=0.16, steps=steps)
    if nuisances.style == "sketch" and rng.random() < 0.6:
        return Surface(x, y, slope=0.3, rim=0.05, hatch=True)
    if nuisances.style == "plush":
        speckle = np.frombuffer(rng.randbytes(64 * 64), np.uint8).reshape(64, 64)
        texture = (speckle.astype(np.float32) - 127.5) * np.float32(0.0009)
        return Surface(x, y, slope=0.18, rim=0.14, texture=texture)
    return None


def _about(joint: tuple[float, float], turn: float, growth: float) -> Affine:
    """Turn by `turn` (radians) and grow about `joint`."""
    cos, sin = round(math.cos(turn), 6) * growth, round(math.sin(turn), 6) * growth
    x, y = joint
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def _after(second: Affine, first: Affine) -> Affine:
    """The motion `first`, then `second`."""
    a, b, c, d, e, f = second
    p, q, r, s, t, u = first
    return (
        a * p + b * s,
        a * q + b * t,
        a * r + b * u + c,
        d * p + e * s,
        d * q + e * t,
        d * r + e * u + f,
    )
