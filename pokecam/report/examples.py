"""The contact sheets: which images stand for a class, and the panels that show their maps."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from pokecam.cam.display import display, display_difference
from pokecam.report import sheets
from pokecam.report.gallery import Gallery, TestImage
from pokecam.report.inputs import Inputs
from pokecam.report.overlay import difference, overlay
from pokecam.report.sheets import PANEL_PX, Entry, Line, Pixels

MOST_CLASSES = 30  # on a sheet
MOST_PAIRS = 20


def class_sheet(inputs: Inputs, gallery: Gallery) -> Image.Image:
    """Draw a typical test image of each class, and its hardest one.

    Beside each image are the maps of the predicted class by all methods. A misclassified image has
    a second line with the maps of its true class.

    Args:
        inputs: of the report.
        gallery: of the same inputs.
    """
    entries = [
        [_entry(inputs, row, gallery.images[row]) for row in _typical_and_hardest(gallery, label)]
        for label in range(len(inputs.packed.classes[:MOST_CLASSES]))
    ]
    heading = "A typical test image of each class, and the hardest"
    if len(inputs.packed.classes) > MOST_CLASSES:
        heading += f" (the first {MOST_CLASSES} of {len(inputs.packed.classes)} classes)"
    return sheets.draw(heading, ["image", *inputs.titles.values()], entries)


def lookalikes_sheet(inputs: Inputs, gallery: Gallery) -> Image.Image | None:
    """Draw a typical image of both classes of each pair of look-alikes.

    Beside each image are the maps of both classes and their difference, by the first method.

    Args:
        inputs: of the report.
        gallery: of the same inputs.

    Returns:
        None if there are no pairs.
    """
    entries = [
        [Entry([_pair_line(inputs, gallery, *labels)]) for labels in ((a, b), (b, a))]
        for a, b in gallery.pairs[:MOST_PAIRS]
    ]
    if not entries:
        return None
    title = next(iter(inputs.titles.values()))
    heads = ["image", "map of its class", "map of the other", "for/against"]
    heading = f"Look-alikes, {title}: evidence for the class (orange), for the other (purple)"
    return sheets.draw(heading, heads, entries)


def typical_row(rows: Sequence[int], probabilities: Mapping[int, float]) -> int:
    """Return the middle one of some images, by the probability of their true class.

    Args:
        rows: of the images.
        probabilities: row → probability of the true class.
    """
    return sorted(rows, key=probabilities.__getitem__)[len(rows) // 2]


def _typical_and_hardest(gallery: Gallery, label: int) -> Iterator[int]:
    """Yield two rows of a class; one row if the class has one image."""
    probabilities = {
        row: image.own for row, image in enumerate(gallery.images) if image.label == label
    }
    if len(probabilities) > 1:
        yield typical_row(list(probabilities), probabilities)
    yield from sorted(probabilities, key=probabilities.__getitem__)[:1]


def _entry(inputs: Inputs, row: int, image: TestImage) -> Entry:
    classes = inputs.packed.classes
    label, predicted = classes[image.label], classes[image.predicted]
    pixels = _pixels(inputs, row)
    panels: list[Pixels | None] = [pixels, *_overlays(inputs, row, image.predicted, pixels)]
    probability = f"{100 * image.probability:.0f} %"
    if image.label == image.predicted:
        return Entry([Line(f"✓ {label} {probability}", panels)])
    label_panels: list[Pixels | None] = [None, *_overlays(inputs, row, image.label, pixels)]
    lines = [
        Line(f"✗ misclassified as {predicted} {probability}", panels),
        Line(f"true class: {label} {100 * image.own:.0f} %", label_panels),
    ]
    return Entry(lines, marked=True)


def _pair_line(inputs: Inputs, gallery: Gallery, label: int, other: int) -> Line:
    row = next(_typical_and_hardest(gallery, label))
    pixels = _pixels(inputs, row)
    maps = inputs.first_maps.of(row, np.array([label, other]))
    panels: list[Pixels | None] = [
        pixels,
        overlay(pixels, display(maps[0], PANEL_PX)),
        overlay(pixels, display(maps[1], PANEL_PX)),
        difference(pixels, display_difference(maps[0], maps[1], PANEL_PX)),
    ]
    classes: Sequence[str] = inputs.packed.classes
    return Line(f"{classes[label]}, not {classes[other]}", panels)


def _pixels(inputs: Inputs, row: int) -> Pixels:
    return sheets.panel_pixels(inputs.packed.pixels[inputs.test_rows[row]])


def _overlays(inputs: Inputs, row: int, class_index: int, pixels: Pixels) -> list[Pixels]:
    """Return the image with the map of a class over it, for each method."""
    return [
        overlay(pixels, display(maps.of(row, class_index), PANEL_PX))
        for maps in inputs.maps.values()
    ]
