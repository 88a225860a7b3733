"""Contact sheets of the drawn species, for the README and the documentation."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pokecam.common.errors import InputError, unknown_name
from pokecam.common.files import whole_file
from pokecam.data.drawn import render, scene, species
from pokecam.data.drawn.nuisances import BACKGROUNDS, STYLES, DrawnSettings, read_settings
from pokecam.data.sources.drawn import mask_png

GAP_PX = 6
LABEL_PX = 18
COLUMNS = 6
SPECIES_TILE_PX = 128
VARIATION_TILE_PX = 176
N_SEEDS = 64  # that are tried for a scene that is not mirrored


def write_sheets(settings_file: Path, varied: str, seed: int, folder: Path) -> None:
    """Write species.png and variations.png.

    Args:
        settings_file: the settings of the drawn source, such as datasets/drawn.yaml.
        varied: the species of variations.png.
        seed: the first scene seed of the variations.
        folder: where the sheets are written.

    Raises:
        InputError: the catalogue has no species `varied`, or a file is not valid.
    """
    settings = read_settings(settings_file)
    catalogue = species.catalogue(settings_file.parent / settings.catalogue)
    if varied not in catalogue:
        raise InputError(f"--varied: {varied} {unknown_name(varied, catalogue)}")
    sheet = species_sheet(catalogue, settings, SPECIES_TILE_PX, COLUMNS)
    _save(sheet, folder / "species.png", 128)
    sheet = variations_sheet(catalogue[varied], settings, VARIATION_TILE_PX, seed)
    _save(sheet, folder / "variations.png", 256)


def plain_scene(creature: species.Species, settings: DrawnSettings) -> scene.Scene:
    """Return a scene of a species as its artist drew it.

    The species is flat, upright and not mirrored, has its own colours and stands alone on white.
    """
    pose = ("swing", "growth", "cut", "turn_deg", "shear", "stretch", "perspective")
    zeros = dict.fromkeys((*pose, "hue_deg", "part_colour", "warmth", "tint", "light"), 0.0)
    ones = dict.fromkeys(("size", "saturation", "brightness"), (1.0, 1.0))
    flat = {name: float(name == "flat") for name in STYLES}
    plain = settings.model_copy(update={**zeros, **ones, "styles": flat})
    scenes = (scene.sample(creature, seed, plain) for seed in range(N_SEEDS))
    unmirrored = next(sampled for sampled in scenes if not sampled.nuisances.flip)
    white = np.full((1, 1, 3), 255, np.uint8)
    return replace(unmirrored, base=white, behind=(), front=(), light=scene.Light())


def species_sheet(
    catalogue: Mapping[str, species.Species], settings: DrawnSettings, tile_px: int, columns: int
) -> Image.Image:
    """Draw all species with their names, in rows of `columns`."""
    rows = -(-len(catalogue) // columns)
    width, height = tile_px + GAP_PX, tile_px + LABEL_PX + GAP_PX
    sheet = Image.new("RGB", (columns * width, rows * height), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for number, (name, creature) in enumerate(catalogue.items()):
        left, top = number % columns * width, number // columns * height
        pixels = render.image(plain_scene(creature, settings), tile_px)
        sheet.paste(Image.fromarray(pixels), (left, top))
        middle = (left + tile_px / 2, top + tile_px + LABEL_PX / 2)
        draw.text(middle, name, (40, 40, 40), font, anchor="mm")
    return sheet


def variations_sheet(
    creature: species.Species, settings: DrawnSettings, tile_px: int, first_seed: int
) -> Image.Image:
    """Draw a species once in each style, with its part masks beside it, two pairs in a row.

    Each image has another type of background. It has little noise, because noise does not
    compress.
    """
    step = tile_px + GAP_PX
    sheet = Image.new("RGB", (4 * step + GAP_PX, 3 * step), (255, 255, 255))
    for number, style in enumerate(STYLES):
        chosen = {
            "styles": {name: float(name == style) for name in STYLES},
            "backgrounds": {name: float(i == number) for i, name in enumerate(BACKGROUNDS)},
        }
        quiet = {"noise": (0.0, 4.0), "jpeg_quality": (75.0, 95.0)}
        fixed = settings.model_copy(update=chosen | quiet)
        sampled = scene.sample(creature, first_seed + number, fixed)
        pixels, labels = render.image_and_mask(sampled, tile_px)
        left, top = number % 2 * (2 * step + GAP_PX), number // 2 * step
        with Image.open(io.BytesIO(render.finish(pixels, sampled))) as image:
            sheet.paste(image, (left, top))
        with Image.open(io.BytesIO(mask_png(labels, len(creature.parts)))) as mask:
            sheet.paste(mask.convert("RGB"), (left + step, top))
    return sheet


def _save(sheet: Image.Image, path: Path, n_colours: int) -> None:
    """Write a sheet as a PNG of at most `n_colours` colours."""
    small = sheet.quantize(n_colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    with whole_file(path) as temporary:
        small.save(temporary, "PNG", optimize=True)
