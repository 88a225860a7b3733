"""Contact sheets of the drawn Pokédex for the README.

python -m pokecam.commands.species_sheets   # writes docs/species.png and docs/variations.png
"""

import argparse
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pokecam.common.files import whole_file
from pokecam.common.running import run
from pokecam.data.drawn import render, scene, species
from pokecam.data.drawn.nuisances import BACKGROUNDS, STYLES, DrawnSettings, read_settings
from pokecam.data.sources.drawn import mask_png

_GAP = 6


def clean(one: species.Species, settings: DrawnSettings) -> scene.Scene:
    """The species as its artist drew it: flat, upright, in its own colours, alone on white."""
    pose = ("swing", "growth", "cut", "turn_deg", "shear", "stretch", "perspective")
    none = dict.fromkeys((*pose, "hue_deg", "part_colour", "warmth", "tint", "light"), 0.0)
    ones = dict.fromkeys(("size", "saturation", "brightness"), (1.0, 1.0))
    flat = {name: float(name == "flat") for name in STYLES}
    still = settings.model_copy(update={**none, **ones, "styles": flat})
    drawn = (scene.sample(one, seed, still) for seed in range(64))
    upright = next(found for found in drawn if not found.nuisances.flip)
    white = np.full((1, 1, 3), 255, np.uint8)
    return replace(upright, base=white, behind=(), front=(), light=scene.Light())


def species_sheet(
    catalogue: dict[str, species.Species], settings: DrawnSettings, tile_px: int, columns: int
) -> Image.Image:
    """All species, clean and named, in rows of `columns`."""
    label_px = 18
    rows = -(-len(catalogue) // columns)
    high = tile_px + label_px
    sheet = Image.new("RGB", (columns * (tile_px + _GAP), rows * (high + _GAP)), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for place, (name, one) in enumerate(catalogue.items()):
        left, top = place % columns * (tile_px + _GAP), place // columns * (high + _GAP)
        sheet.paste(Image.fromarray(render.image(clean(one, settings), tile_px)), (left, top))
        middle = (left + tile_px / 2, top + tile_px + label_px / 2)
        draw.text(middle, name, (40, 40, 40), font, anchor="mm")
    return sheet


def variations_sheet(
    one: species.Species, settings: DrawnSettings, tile_px: int, first_seed: int
) -> Image.Image:
    """One image of the species in each style, its part masks beside it, two pairs in a row.

    Each is on another kind of background and has little noise, which would not compress.
    """
    step = tile_px + _GAP
    sheet = Image.new("RGB", (4 * step + _GAP, 3 * step), (255, 255, 255))
    for place, style in enumerate(STYLES):
        kinds = {
            "styles": {name: float(name == style) for name in STYLES},
            "backgrounds": {name: float(i == place) for i, name in enumerate(BACKGROUNDS)},
        }
        quiet = {"noise": (0.0, 4.0), "jpeg_quality": (75.0, 95.0)}
        fixed = settings.model_copy(update=kinds | quiet)
        drawn = scene.sample(one, first_seed + place, fixed)
        pixels, labels = render.image_and_mask(drawn, tile_px)
        left, top = place % 2 * (2 * step + _GAP), place // 2 * step
        with Image.open(io.BytesIO(render.finish(pixels, drawn))) as image:
            sheet.paste(image, (left, top))
        with Image.open(io.BytesIO(mask_png(labels, len(one.parts)))) as mask:
            sheet.paste(mask.convert("RGB"), (left + step, top))
    return sheet


def _save(sheet: Image.Image, path: Path, colours: int) -> None:
    """Write the sheet as a PNG of at most `colours` colours."""
    small = sheet.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    with whole_file(path) as temporary:
        small.save(temporary, "PNG", optimize=True)


def main() -> None:
    """Write both sheets."""
    parser = argparse.ArgumentParser(description="Draw the contact sheets for the README.")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder (default: docs)")
    parser.add_argument(
        "--settings", type=Path, default=Path("datasets/drawn.yaml"), help="default: %(default)s"
    )
    parser.add_argument("--varied", default="Pikachu", help="species to vary (default: Pikachu)")
    parser.add_argument("--seed", type=int, default=31, help="first seed of the variations")
    given = parser.parse_args()
    settings = read_settings(given.settings)
    catalogue = species.catalogue(given.settings.parent / settings.catalogue)
    if given.varied not in catalogue:
        parser.error(f"no species {given.varied!r}; there are {', '.join(catalogue)}")
    _save(species_sheet(catalogue, settings, 128, 6), given.out / "species.png", 128)
    sheet = variations_sheet(catalogue[given.varied], settings, 176, given.seed)
    _save(sheet, given.out / "variations.png", 256)


if __name__ == "__main__":
    run(main)
