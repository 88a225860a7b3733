"""Contact sheets: what is where, and that the pictures are the ones the network saw."""

import itertools

import numpy as np
import pytest
from PIL import Image

from pokecam.cam.display import display
from pokecam.report import page, sheets
from pokecam.report.overlay import overlay
from pokecam.report.sheets import CAPTION_PX, PANEL_PX


def card(row, right):
    return page.Card(row, f"{row}.png", "a", "a" if right else "b", 0.6, 0.6 if right else 0.3)


def boxes(sheet):
    for placed in sheet.placed:
        for panel in [placed.picture, *itertools.chain(*placed.maps)]:
            yield panel.left, panel.top, panel.left + PANEL_PX, panel.top + PANEL_PX


@pytest.mark.parametrize("n_methods", [1, 2, 5, 12])
@pytest.mark.parametrize("n_wrong", [0, 1, 4, 7])
def test_panels_lie_apart_inside_the_sheet_on_the_blocks_of_jpeg(n_methods, n_wrong):
    cards = [card(row, row >= n_wrong) for row in range(11)]
    sheet = sheets.layout(cards, n_methods)
    all_boxes = list(boxes(sheet))
    assert len(all_boxes) == 11 + n_methods * (11 + n_wrong)
    for left, top, right, bottom in all_boxes:
        assert left % 16 == top % 16 == 0
        assert left >= 0
        assert top >= CAPTION_PX
        assert right <= sheet.width
        assert bottom <= sheet.height
    for one, other in itertools.combinations(all_boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart


def cut(image, panel):
    box = (panel.left, panel.top, panel.left + PANEL_PX, panel.top + PANEL_PX)
    return np.asarray(image.crop(box))


def test_panels_show_the_very_pixels_and_the_maps_of_predicted_and_own_class(inputs):
    result = page.build(inputs).classes[0]
    image, sheet = sheets.draw(result, inputs, ["CAM", "Grad-CAM"])
    mistake = sheet.placed[0]
    # The mistake is the second test picture of the first class: packed row 3.
    pixels = Image.fromarray(inputs.packed.pixels[3]).resize((PANEL_PX, PANEL_PX), Image.BOX)
    np.testing.assert_array_equal(cut(image, mistake.picture), pixels)
    for line, class_index in enumerate([1, 0]):  # predicted, own
        for method, panel in zip(["cam", "grad_cam"], mistake.maps[line], strict=True):
            shown = display(inputs.maps[method][1, class_index], PANEL_PX)
            expected = overlay(np.asarray(pixels), shown)
            np.testing.assert_array_equal(cut(image, panel), expected)


def test_mistakes_are_framed_and_the_right_ones_not(inputs):
    result = page.build(inputs).classes[0]
    image, sheet = sheets.draw(result, inputs, ["CAM", "Grad-CAM"])
    grey = np.asarray(image.convert("L"))
    for placed in sheet.placed:
        column = grey[placed.picture.top : placed.picture.top + PANEL_PX, placed.picture.left - 7]
        assert (column < 60).all() == (not placed.card.right)


def test_long_names_are_cut_to_the_width():
    font = sheets.font(16)
    assert sheets._fitting("short", font, 200) == "short"
    cut_name = sheets._fitting("a name that never ends " * 9, font, 200)
    assert cut_name.endswith("…")
    assert font.getlength(cut_name) <= 200
