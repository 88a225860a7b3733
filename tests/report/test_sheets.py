"""Contact sheets: the places of panels, and that they have the packed images."""

import numpy as np
from PIL import Image

from pokecam.cam.display import display
from pokecam.report import examples, gallery, sheets
from pokecam.report.overlay import overlay
from pokecam.report.sheets import CAPTION_PX, GAP_PX, HEADING_PX, PANEL_PX, PITCH_PX, Entry, Line


def panel(value):
    return np.full((PANEL_PX, PANEL_PX, 3), value, dtype=np.uint8)


def cut(image, left, top):
    assert left % 16 == top % 16 == 0
    return np.asarray(image.crop((left, top, left + PANEL_PX, top + PANEL_PX)))


def test_entries_lie_side_by_side_in_rows_as_high_as_their_highest():
    double = Entry([Line("a", [panel(10), panel(20)]), Line("b", [None, panel(30)])], marked=True)
    single = Entry([Line("c", [panel(40), panel(50)])])
    image = sheets.draw("heading", ["x", "y"], [[double, single], [single]])
    second, third = (HEADING_PX + n * (CAPTION_PX + PITCH_PX) + CAPTION_PX for n in (1, 2))
    first = HEADING_PX + CAPTION_PX
    right = GAP_PX + 2 * PITCH_PX + GAP_PX
    assert image.size == (2 * right - 2 * GAP_PX, third + PITCH_PX)
    for value, left, top in (
        (10, GAP_PX, first),
        (20, GAP_PX + PITCH_PX, first),
        (30, GAP_PX + PITCH_PX, second),
        (40, right, first),
        (50, right + PITCH_PX, first),
        (40, GAP_PX, third),
    ):
        assert (cut(image, left, top) == value).all()


def test_only_marked_entries_have_a_frame():
    lines = [Line("a", [panel(255)])]
    image = sheets.draw("heading", ["x"], [[Entry(lines, marked=True), Entry(lines)]])
    grey = np.asarray(image.convert("L"))
    rows = slice(HEADING_PX + CAPTION_PX, HEADING_PX + CAPTION_PX + PANEL_PX)
    assert (grey[rows, GAP_PX - 7] < 60).all()
    assert (grey[rows, GAP_PX + PITCH_PX + GAP_PX - 7] == 255).all()


def test_class_sheet_has_a_typical_and_the_hardest_image_with_the_maps_of_the_predicted_class(
    inputs,
):
    built = gallery.build_gallery(inputs)
    image = examples.class_sheet(inputs, built)
    # The first class has a correct image, row 0, then a misclassified one, row 1, with both maps.
    small = [sheets.panel_pixels(inputs.packed.pixels[inputs.test_rows[row]]) for row in (0, 1)]
    top = HEADING_PX + CAPTION_PX
    across = 3 * PITCH_PX + GAP_PX
    np.testing.assert_array_equal(cut(image, GAP_PX, top), small[0])
    np.testing.assert_array_equal(cut(image, GAP_PX + across, top), small[1])
    for line, index in enumerate([1, 0]):  # predicted, label
        for number, method in enumerate(["cam", "grad_cam"], start=1):
            heatmap = display(inputs.maps[method].of(1, index), PANEL_PX)
            expected = overlay(small[1], heatmap)
            left = GAP_PX + across + number * PITCH_PX
            drawn = cut(image, left, top + line * (CAPTION_PX + PITCH_PX))
            np.testing.assert_array_equal(drawn, expected)


def test_lookalikes_are_shown_with_both_maps(inputs):
    built = gallery.build_gallery(inputs)
    image = examples.lookalikes_sheet(inputs, built)
    # Typical is the second of two equals.
    maps = inputs.maps["cam"].values[3]
    pixels = sheets.panel_pixels(inputs.packed.pixels[inputs.test_rows[3]])
    for number, index in enumerate([1, 2], start=1):
        expected = overlay(pixels, display(maps[index], PANEL_PX))
        drawn = cut(image, GAP_PX + number * PITCH_PX, HEADING_PX + CAPTION_PX)
        np.testing.assert_array_equal(drawn, expected)


def test_without_lookalikes_there_is_no_sheet(inputs):
    built = gallery.build_gallery(inputs)
    built.pairs.clear()
    assert examples.lookalikes_sheet(inputs, built) is None


def test_small_images_are_averaged():
    pixels = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    means = pixels.reshape(PANEL_PX, 2, PANEL_PX, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(sheets.panel_pixels(pixels), means, atol=1)  # rounded twice


def test_long_names_are_cut_to_the_width():
    font = sheets.font(16)
    assert sheets.shorten("short", font, 200) == "short"
    cut_name = sheets.shorten("a name that never ends " * 9, font, 200)
    assert cut_name.endswith("…")
    assert font.getlength(cut_name) <= 200


def test_the_same_bytes_every_time(tmp_path):
    image = Image.effect_noise((64, 64), 50).convert("RGB")
    for name in ("a.jpg", "b.jpg"):
        sheets.save(image, tmp_path / name)
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
