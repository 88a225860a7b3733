"""Which images stand for all in the contact sheets, and the panels that show them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from pokecam.cam.display import display, upsampled
from pokecam.report import sheets
from pokecam.report.gallery import Gallery, TestImage
from pokecam.report.inputs import Inputs
from pokecam.report.overlay import difference, overlay
from pokecam.report.sheets import PANEL_PX, Entry, Line, Pixels

MOST_CLASSES = 30  # on a sheet
MOST_PAIRS = 20


def contact(inputs: Inputs, gallery: Gallery) -> Image.Image:
    """Of each class a typical image, the middle one by the probability of its own class, and the
    hardest, beside the maps of the predicted class; for a mistake, its own class's, too."""
    rows = [
        [_entry(inputs, row, gallery.images[row]) for row in _typical_and_hardest(gallery, label)]
        for label in range(len(inputs.packed.classes[:MOST_CLASSES]))
    ]
    heading = "A typical test image of each class, and the hardest"
    if len(inputs.packed.classes) > MOST_CLASSES:
        heading += f" (the first {MOST_CLASSES} of {len(inputs.packed.classes)} classes)"
    return sheets.draw(heading, ["image", *inputs.titles.values()], rows)


def lookalikes(inputs: Inputs, gallery: Gallery) -> Image.Image | None:
    """Of each look-alike pair a typical image of both classes, with the maps of both and their
    difference, by the first method; None without pairs."""
    rows = [
        [Entry([_compared(inputs, gallery, *of)]) for of in ((a, b), (b, a))]
        for a, b in gallery.pairs[:MOST_PAIRS]
    ]
    if not rows:
        return None
    title = next(iter(inputs.titles.values()))
    heads = ["image", "map of its class", "map of the other", "for/against"]
    heading = f"Look-alikes, {title}: for the class (orange), for the other (purple)"
    return sheets.draw(heading, heads, rows)


def typical(rows: Sequence[int], own: Mapping[int, float]) -> int:
    """The middle one of some images by the probability of their own class."""
    return sorted(rows, key=own.__getitem__)[len(rows) // 2]


def _typical_and_hardest(gallery: Gallery, label: int) -> Iterator[int]:
    own = {row: one.own for row, one in enumerate(gallery.images) if one.label == label}
    if len(own) > 1:
        yield typical(list(own), own)
    yield from sorted(own, key=own.__getitem__)[:1]


def _entry(inputs: Inputs, row: int, image: TestImage) -> Entry:
    classes = inputs.packed.classes
    own, said = classes[image.label], classes[image.predicted]
    pixels = _pixels(inputs, row)
    shown: list[Pixels | None] = [pixels, *_maps(inputs, row, image.predicted, pixels)]
    sure = f"{100 * image.probability:.0f} %"
    if image.label == image.predicted:
        return Entry([Line(f"✓ {own} {sure}", shown)])
    second = f"its own class, {own} {100 * image.own:.0f} %"
    maps: list[Pixels | None] = [None, *_maps(inputs, row, image.label, pixels)]
    return Entry([Line(f"✗ {own}, taken for {said} {sure}", shown), Line(second, maps)], True)


def _compared(inputs: Inputs, gallery: Gallery, label: int, other: int) -> Line:
    row = next(_typical_and_hardest(gallery, label))
    pixels = _pixels(inputs, row)
    maps = inputs.first_maps.of(row, np.array([label, other]))
    between = upsampled(maps[0] - maps[1], PANEL_PX)
    most = np.abs(between).max()
    panels: list[Pixels | None] = [
        pixels,
        overlay(pixels, display(maps[0], PANEL_PX)),
        overlay(pixels, display(maps[1], PANEL_PX)),
        difference(pixels, between / most if most > 0 else between),
    ]
    classes: Sequence[str] = inputs.packed.classes
    return Line(f"{classes[label]}, not {classes[other]}", panels)


def _pixels(inputs: Inputs, row: int) -> Pixels:
    return sheets.small(inputs.packed.pixels[inputs.test_rows[row]])


def _maps(inputs: Inputs, row: int, index: int, pixels: Pixels) -> list[Pixels]:
    return [
        overlay(pixels, display(maps.of(row, index), PANEL_PX)) for maps in inputs.maps.values()
    ]
