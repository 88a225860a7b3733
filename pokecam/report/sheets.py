"""Contact sheets: one image per class, every test picture beside its maps.

A sheet is a picture to look at by itself, and the page cuts its panels out of it, so that nothing
is stored twice. Panels lie on a grid of 16 px, the blocks of JPEG, so that none bleeds into
its neighbour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pokecam.cam.display import display
from pokecam.report.inputs import Inputs
from pokecam.report.overlay import overlay
from pokecam.report.page import Card, ClassResult

PANEL_PX = 160
GAP_PX = 16
CAPTION_PX = 32
HEADING_PX = 80
PANELS_ACROSS = 9
PITCH_PX = PANEL_PX + GAP_PX  # from panel to panel
ROW_PX = CAPTION_PX + PITCH_PX  # from caption to caption
JPEG_QUALITY = 76

INK, FAINT, PAPER = "#1c1c1e", "#6b6b70", "#ffffff"


@dataclass(frozen=True)
class Panel:
    """Where a panel lies on its sheet, in px from the top left corner."""

    left: int
    top: int


@dataclass(frozen=True)
class Placed:
    """A card on a sheet. maps: one row per class in `card.mapped`, one panel per method."""

    card: Card
    picture: Panel
    maps: list[list[Panel]]


@dataclass(frozen=True)
class Sheet:
    """A contact sheet: its size in px, and where everything is."""

    width: int
    height: int
    placed: list[Placed]


def layout(cards: Sequence[Card], n_methods: int) -> Sheet:
    """Place cards in columns, each where there is most room; a mistake, which has two rows of
    maps, is just as high as two others, so that captions stay in line."""
    columns = max(1, PANELS_ACROSS // (1 + n_methods))
    filled = [0] * columns  # rows taken in each column
    placed: list[Placed] = []
    for card in cards:
        column = filled.index(min(filled))
        left = GAP_PX + column * ((1 + n_methods) * PITCH_PX + GAP_PX)
        tops = [
            HEADING_PX + (filled[column] + line) * ROW_PX + CAPTION_PX
            for line in range(len(card.mapped))
        ]
        maps = [
            [Panel(left + (1 + method) * PITCH_PX, top) for method in range(n_methods)]
            for top in tops
        ]
        placed.append(Placed(card, Panel(left, tops[0]), maps))
        filled[column] += len(card.mapped)
    width = columns * ((1 + n_methods) * PITCH_PX + GAP_PX)
    return Sheet(width, HEADING_PX + max(filled) * ROW_PX, placed)


def draw(result: ClassResult, inputs: Inputs, titles: Sequence[str]) -> tuple[Image.Image, Sheet]:
    """Draw the sheet of one class: for each picture the maps of the predicted class and, where
    that is wrong, below them those of its own class, all painted on the very pixels that the
    network saw.

    titles: names of the methods, in the order of `inputs.maps`.
    """
    sheet = layout(result.cards, len(titles))
    image = Image.new("RGB", (sheet.width, sheet.height), PAPER)
    pen = ImageDraw.Draw(image)
    heading = f"{result.name}: {result.n_right} of {len(result.cards)} right"
    pen.text((GAP_PX, 14), heading, INK, font(24, bold=True))
    pen.text((GAP_PX, 46), "   |   ".join(["picture", *titles]), FAINT, font(15))
    rows = inputs.test_rows
    index_of = {name: i for i, name in enumerate(inputs.packed.classes)}
    for placed in sheet.placed:
        card = placed.card
        pixels = _small(inputs.packed.pixels[rows[card.row]])  # (PANEL_PX, PANEL_PX, 3)
        _paste(image, pixels, placed.picture)
        for name, panels in zip(card.mapped, placed.maps, strict=True):
            for maps, panel in zip(inputs.maps.values(), panels, strict=True):
                shown = display(maps[card.row, index_of[name]], PANEL_PX)
                _paste(image, overlay(pixels, shown), panel)
        _write_captions(pen, placed, len(titles))
    return image, sheet


def save(image: Image.Image, path: Path) -> None:
    """Write a sheet as JPEG, the same bytes every time."""
    image.save(path, "JPEG", quality=JPEG_QUALITY, optimize=True, progressive=True)


def _small(pixels: np.ndarray) -> np.ndarray:
    """The packed picture at the size of a panel: averaged, not cropped."""
    size = (PANEL_PX, PANEL_PX)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _paste(image: Image.Image, pixels: np.ndarray, panel: Panel) -> None:
    image.paste(Image.fromarray(pixels), (panel.left, panel.top))


def _write_captions(pen: ImageDraw.ImageDraw, placed: Placed, n_methods: int) -> None:
    card, left, top = placed.card, placed.picture.left, placed.picture.top
    width = PANEL_PX + n_methods * PITCH_PX
    mark, text = ("✓", card.predicted) if card.right else ("✗", f"taken for {card.predicted}")
    _caption(pen, left, top, f"{mark} {text} {100 * card.probability:.0f} %", width, card.right)
    if not card.right:
        below = top + ROW_PX
        first_map = left + PITCH_PX
        own = f"its own class, {card.label} {100 * card.true_probability:.0f} %"
        _caption(pen, first_map, below, own, width - PITCH_PX, card.right)
        # A frame, so that mistakes also stand out in a black and white copy.
        corners = (left - 8, top - CAPTION_PX + 3, left + width + 7, below + PANEL_PX + 7)
        pen.rectangle(corners, outline=INK, width=3)


def _caption(
    pen: ImageDraw.ImageDraw, left: int, top: int, text: str, width_px: int, right: bool
) -> None:
    letters = font(16, bold=not right)
    pen.text((left, top - 23), _fitting(text, letters, width_px), INK, letters)


def _fitting(text: str, letters: ImageFont.FreeTypeFont, width_px: int) -> str:
    if letters.getlength(text) <= width_px:
        return text
    while text and letters.getlength(text + "…") > width_px:
        text = text[:-1]
    return text + "…"


@cache
def font(size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: the same letters on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)
