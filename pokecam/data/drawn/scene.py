"""A scene: the sampled values of one drawn image, with one creature in it. One seed decides all.

    from pathlib import Path
    from pokecam.data.drawn import nuisances, render, scene, species

    settings = nuisances.read_settings(Path("datasets/drawn.yaml"))
    pikachu = species.catalogue()["Pikachu"]  # or species.parse(svg_text, "name")
    drawing = scene.sample(pikachu, seed=7, settings=settings)
    pixels = render.image(drawing, 256)      # uint8 (256, 256, 3)
    no_tail = render.image(drawing, 256, without=frozenset({"tail"}))
    labels = render.mask(drawing, 256)       # uint8 (256, 256), 1 = first part, 0 = no part
    jpeg = render.finish(pixels, drawing)    # bytes, with noise

`drawing.nuisances` holds the values it was made from. Without its creature, the scene of a seed is
the same for every species.
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
    """A part of the creature in a scene.

    Attributes:
        name: of the part.
        items: what is painted, in this order.
        box: around all items, lines included.
    """

    name: str
    items: tuple[Item, ...]
    box: Box


@dataclass(frozen=True)
class Light:
    """Coloured light, which may be brighter on one side of the image.

    Attributes:
        tones: factors of red, green and blue; 128 is neutral.
        across: the brightness at (x, y) is 1 + across x + down y, where x and y reach from −1 to 1
            over the image.
        down: see `across`.
    """

    tones: tuple[int, ...] = (128, 128, 128)
    across: float = 0.0
    down: float = 0.0


@dataclass(frozen=True, eq=False)
class Surface:
    """The volume and texture of parts; `render` holds the equation of their brightness.

    Attributes:
        light_x: the direction to the light, (light_x, light_y) of length 1.
        light_y: see `light_x`.
        slope: how much brighter the side towards the light is.
        rim: how much darker the rim is.
        steps: two levels of brightness instead of smooth changes.
        hatch: hatching where it is dark, instead of smooth changes.
        texture: float32 (64, 64), added to the brightness.
    """

    light_x: float
    light_y: float
    slope: float
    rim: float
    steps: bool = False
    hatch: bool = False
    texture: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """All that `render` needs.

    Attributes:
        nuisances: the values that the scene was made from.
        base: uint8 (k, k, 3), coarse colours of the background, upsampled to the image.
        behind: items behind the creature.
        parts: of the creature, in painter's order: later parts cover earlier ones.
        front: items in front of the creature: covers, distractors, a frame.
        light: the light on the whole image.
        surface: the volume and texture of the parts, or None for flat parts.
        blocks: the side of the image in visible pixels, or None for a smooth image.
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
    """Sample the scene of a seed with a creature in it.

    Args:
        species: the creature.
        seed: decides everything random.
        settings: how scenes vary.
    """
    nuisances = sample_nuisances(seed, settings)
    surroundings = backdrop.sample(nuisances)
    return Scene(
        nuisances=nuisances,
        base=surroundings.base,
        behind=surroundings.behind,
        parts=_draw_creature(species, nuisances, settings),
        front=surroundings.front,
        light=_light(nuisances),
        surface=_sample_surface(nuisances),
        blocks=round(88 - 32 * nuisances.stroke) if nuisances.style == "pixelated" else None,
    )


def _draw_creature(
    species: Species, nuisances: Nuisances, settings: DrawnSettings
) -> tuple[PartDrawing, ...]:
    """Draw the parts in the pose, the colours and the viewpoint of a scene."""
    rng = stream(nuisances.seed, "pose")
    pencil = Pencil(nuisances, nuisances.size, "creature")
    recolour = _recolouring(nuisances)
    project = _projection(nuisances, settings)
    poses = _sample_poses(species, settings, rng)
    vertices = project(species.vertices, np.array(poses)[species.part_of_vertex])
    traces = pencil.trace(vertices)
    first_vertices = np.searchsorted(species.part_of_vertex, np.arange(len(species.parts)))
    minima = np.min([np.minimum.reduceat(trace, first_vertices) for trace in traces], axis=0)
    maxima = np.max([np.maximum.reduceat(trace, first_vertices) for trace in traces], axis=0)
    parts = []
    start = 0
    for i, part in enumerate(species.parts):
        shifts = [rng.uniform(-1, 1) * settings.part_colour * 255 for _ in range(3)]
        items: list[Item] = []
        for shape in part.shapes:
            end = start + len(shape.vertices)
            fill = shape.fill and recolour(shape.fill, shifts)
            line = shape.line and recolour(shape.line, shifts)
            items += pencil.draw_traces(
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
        left, top = (minima[i] - border).tolist()
        right, bottom = (maxima[i] + border).tolist()
        parts.append(PartDrawing(part.name, tuple(items), (left, top, right, bottom)))
    return tuple(parts)


def _sample_poses(species: Species, settings: DrawnSettings, rng: random.Random) -> list[Affine]:
    """Sample the motion of each part within the square of the drawing.

    A part moves about its own joint first, then as its parent does.
    """
    motions = [
        _rotation_about(
            part.joint,
            math.radians(rng.uniform(-1, 1) * part.swing_deg * settings.swing),
            1 + rng.uniform(-1, 1) * settings.growth,
        )
        for part in species.parts
    ]
    indices = {part.name: i for i, part in enumerate(species.parts)}
    poses = list(motions)
    for i in species.motion_order:
        parent = species.parts[i].parent
        if parent is not None:
            poses[i] = _compose(poses[indices[parent]], motions[i])
    return poses


def _projection(
    nuisances: Nuisances, settings: DrawnSettings
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function that maps vertices (n, 2) in their poses (n, 6) to the canvas, (n, 2).

    It flips, stretches, shears and rotates the square of the drawing, which reaches from −1 to 1.
    Then it divides by 1 + tilt_x x + tilt_y y for the perspective, scales and translates.
    """
    angle = math.radians(nuisances.turn_deg)
    cos, sin = round(math.cos(angle), 6), round(math.sin(angle), 6)
    x_scale = (-1 if nuisances.flip else 1) * (1 + nuisances.stretch) / HALF
    y_scale = (1 - nuisances.stretch) / HALF
    shear = nuisances.shear / HALF
    view = (cos * x_scale, cos * shear - sin * y_scale, sin * x_scale, sin * shear + cos * y_scale)
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
        projected = np.stack([centre_x + across * nearness, centre_y + down * nearness], axis=1)
        return projected.round(2)

    return project


def _recolouring(nuisances: Nuisances) -> Callable[[Colour, list[float]], Colour]:
    """Return a function from a colour of the drawing to the colour in the scene.

    It rotates the hue, scales the saturation at constant luminance, scales the brightness, and adds
    the shifts of a part, one for each channel.
    """
    angle = math.radians(nuisances.hue_deg)
    cos = round(math.cos(angle), 6) * nuisances.saturation
    sin = round(math.sin(angle), 6) * nuisances.saturation
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

    def recolour(colour: Colour, shifts: list[float]) -> Colour:
        values = (
            nuisances.brightness * (r * colour[0] + g * colour[1] + b * colour[2]) + shift
            for (r, g, b), shift in zip(rows, shifts, strict=True)
        )
        red, green, blue = (min(255, max(0, round(value))) for value in values)
        return red, green, blue

    return recolour


def _light(nuisances: Nuisances) -> Light:
    """Return the colour of the light and its change across the image."""
    angle = math.radians(nuisances.light_deg)
    tones = (1 + nuisances.warmth, 1 + nuisances.tint, 1 - nuisances.warmth)
    return Light(
        tones=tuple(round(128 * tone) for tone in tones),
        across=nuisances.light * round(math.cos(angle), 6) / 1.5,
        down=nuisances.light * round(math.sin(angle), 6) / 1.5,
    )


def _sample_surface(nuisances: Nuisances) -> Surface | None:
    """Sample the volume and texture of parts in the style of a scene."""
    rng = stream(nuisances.seed, "surface")
    angle = math.radians(nuisances.light_deg)
    x, y = round(math.cos(angle), 6), round(math.sin(angle), 6)
    if nuisances.style == "shaded":
        steps = rng.random() < 0.4
        return Surface(x, y, slope=rng.uniform(0.2, 0.38), rim=0.16, steps=steps)
    if nuisances.style == "sketch" and rng.random() < 0.6:
        return Surface(x, y, slope=0.3, rim=0.05, hatch=True)
    if nuisances.style == "plush":
        noise = np.frombuffer(rng.randbytes(64 * 64), np.uint8).reshape(64, 64)
        texture = (noise.astype(np.float32) - 127.5) * np.float32(0.0009)
        return Surface(x, y, slope=0.18, rim=0.14, texture=texture)
    return None


def _rotation_about(joint: tuple[float, float], angle: float, scale: float) -> Affine:
    """Return the rotation by `angle` (radians) and the scaling by `scale` about a joint."""
    cos, sin = round(math.cos(angle), 6) * scale, round(math.sin(angle), 6) * scale
    x, y = joint
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def _compose(second: Affine, first: Affine) -> Affine:
    """Return the motion `first`, followed by `second`."""
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
