"""Contact sheets: images beside their maps in one image, for papers and for git hosts.

Panels lie on a grid of 16 px, the blocks of JPEG, so that none bleeds into its neighbour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PANEL_PX = 160
GAP_PX = 16
CAPTION_PX = 32
HEADING_PX = 80
PITCH_PX = PANEL_PX + GAP_PX  # from panel to panel
ROW_PX = CAPTION_PX + PITCH_PX  # from caption to caption
JPEG_QUALITY = 76

INK, FAINT, PAPER = "#1c1c1e", "#6b6b70", "#ffffff"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Line:
    """A row of panels under a caption: uint8 (PANEL_PX, PANEL_PX, 3) each, None for an empty
    place."""

    caption: str
    panels: list[Pixels | None]


@dataclass(frozen=True)
class Entry:
    """Lines that belong together; marked ones have a frame, so that they also stand out in a black
    and white copy."""

    lines: list[Line]
    marked: bool = False


def draw(heading: str, heads: Sequence[str], rows: Sequence[Sequence[Entry]]) -> Image.Image:
    """Draw rows of entries side by side, as high as the one with most lines.

    heads: what the panels of a line are, from left to right; as many as any line has.
    """
    column_px = len(heads) * PITCH_PX + GAP_PX
    lines = [max(len(entry.lines) for entry in row) for row in rows]
    letters = font(24, bold=True)
    across = max(len(row) for row in rows) * column_px
    width = max(across, math.ceil(letters.getlength(heading)) + 2 * GAP_PX)
    image = Image.new("RGB", (width, HEADING_PX + sum(lines) * ROW_PX), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((GAP_PX, 14), heading, INK, letters)
    for column in range(max(len(row) for row in rows)):
        for at, head in enumerate(heads):
            left = GAP_PX + column * column_px + at * PITCH_PX
            pen.text((left, 52), fitting(head, font(13), PANEL_PX), FAINT, font(13))
    top = HEADING_PX
    for row, high in zip(rows, lines, strict=True):
        for column, entry in enumerate(row):
            _draw_entry(image, pen, entry, GAP_PX + column * column_px, top, len(heads))
        top += high * ROW_PX
    return image


def save(image: Image.Image, path: Path) -> None:
    """Write a sheet as JPEG, the same bytes every time."""
    image.save(path, "JPEG", quality=JPEG_QUALITY, optimize=True, progressive=True)


def small(pixels: Pixels) -> Pixels:
    """A packed image at the size of a panel: averaged, not cropped."""
    size = (PANEL_PX, PANEL_PX)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _draw_entry(
    image: Image.Image, pen: ImageDraw.ImageDraw, entry: Entry, left: int, top: int, across: int
) -> None:
    width = across * PITCH_PX - GAP_PX
    letters = font(16, bold=entry.marked)
    for number, line in enumerate(entry.lines):
        below = top + number * ROW_PX
        used = {at: panel for at, panel in enumerate(line.panels) if panel is not None}
        start = left + min(used) * PITCH_PX
        room = left + width - start
        pen.text((start, below + 9), fitting(line.caption, letters, room), INK, letters)
        for at, panel in used.items():
            image.paste(Image.fromarray(panel), (left + at * PITCH_PX, below + CAPTION_PX))
    if entry.marked:
        bottom = top + len(entry.lines) * ROW_PX - GAP_PX + 7
        pen.rectangle((left - 8, top + 3, left + width + 7, bottom), outline=INK, width=3)


def fitting(text: str, letters: ImageFont.FreeTypeFont, width_px: float) -> str:
    """A text cut to a width, with an ellipsis if it is longer."""
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
