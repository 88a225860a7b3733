"""Contact sheets: images beside their maps in one image, for papers and git hosts.

Panels lie on a grid of 16 px, the size of a JPEG block, so that they do not bleed into each other.
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
    """A row of panels under a caption.

    Attributes:
        caption: over the first panel.
        panels: uint8 (PANEL_PX, PANEL_PX, 3) each, None for an empty one.
    """

    caption: str
    panels: list[Pixels | None]


@dataclass(frozen=True)
class Entry:
    """Lines that belong together.

    Attributes:
        lines: from top to bottom.
        marked: whether they have a frame, which stands out in a black and white copy too.
    """

    lines: list[Line]
    marked: bool = False


def draw(heading: str, heads: Sequence[str], rows: Sequence[Sequence[Entry]]) -> Image.Image:
    """Draw entries side by side in rows; a row is as high as its entry with most lines.

    Args:
        heading: over the whole sheet.
        heads: what the panels of a line show, from left to right; as many as any line has.
        rows: of entries.
    """
    column_px = len(heads) * PITCH_PX + GAP_PX
    lines = [max(len(entry.lines) for entry in row) for row in rows]
    heading_font = font(24, bold=True)
    columns_px = max(len(row) for row in rows) * column_px
    width = max(columns_px, math.ceil(heading_font.getlength(heading)) + 2 * GAP_PX)
    image = Image.new("RGB", (width, HEADING_PX + sum(lines) * ROW_PX), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((GAP_PX, 14), heading, INK, heading_font)
    for column in range(max(len(row) for row in rows)):
        for position, head in enumerate(heads):
            left = GAP_PX + column * column_px + position * PITCH_PX
            pen.text((left, 52), shorten(head, font(13), PANEL_PX), FAINT, font(13))
    top = HEADING_PX
    for row, n_lines in zip(rows, lines, strict=True):
        for column, entry in enumerate(row):
            _draw_entry(image, pen, entry, GAP_PX + column * column_px, top, len(heads))
        top += n_lines * ROW_PX
    return image


def save(image: Image.Image, path: Path) -> None:
    """Write a sheet as JPEG; the same sheet gives the same bytes."""
    image.save(path, "JPEG", quality=JPEG_QUALITY, optimize=True, progressive=True)


def panel_pixels(pixels: Pixels) -> Pixels:
    """Return a packed image at the size of a panel, by averaging, without cropping."""
    size = (PANEL_PX, PANEL_PX)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _draw_entry(
    image: Image.Image, pen: ImageDraw.ImageDraw, entry: Entry, left: int, top: int, n_columns: int
) -> None:
    width = n_columns * PITCH_PX - GAP_PX
    caption_font = font(16, bold=entry.marked)
    for number, line in enumerate(entry.lines):
        line_top = top + number * ROW_PX
        panels = {column: panel for column, panel in enumerate(line.panels) if panel is not None}
        start = left + min(panels) * PITCH_PX
        caption = shorten(line.caption, caption_font, left + width - start)
        pen.text((start, line_top + 9), caption, INK, caption_font)
        for column, panel in panels.items():
            image.paste(Image.fromarray(panel), (left + column * PITCH_PX, line_top + CAPTION_PX))
    if entry.marked:
        bottom = top + len(entry.lines) * ROW_PX - GAP_PX + 7
        pen.rectangle((left - 8, top + 3, left + width + 7, bottom), outline=INK, width=3)


def shorten(text: str, typeface: ImageFont.FreeTypeFont, width_px: float) -> str:
    """Return a text cut to a width in px, with an ellipsis if it was longer."""
    if typeface.getlength(text) <= width_px:
        return text
    while text and typeface.getlength(text + "…") > width_px:
        text = text[:-1]
    return text + "…"


@cache
def font(size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which matplotlib includes, so that all machines draw the same letters."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)
