"""The data for the page's script: the stored maps, and what it says of each image."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from pokecam.cam.display import display
from pokecam.cam.stored_maps import StoredMaps
from pokecam.report import gallery
from pokecam.report.gallery import Bundle
from tests.report.conftest import CLASSES, HARMFUL, SIZE_PX


@pytest.fixture(scope="module")
def built(inputs):
    return gallery.build_gallery(inputs)


def decoded(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def test_a_stored_map_by_hand():
    small, scale = gallery.quantise(np.array([[[32767.0, -63.4], [0.4, 0]]], dtype=np.float32))
    assert small.tolist() == [[[32767, -63], [0, 0]]]
    assert small.dtype == np.dtype("<i2")
    assert scale.tolist() == [1.0]


def test_a_map_of_zeros_stays_one():
    small, scale = gallery.quantise(np.zeros((2, 3, 3), dtype=np.float32))
    assert not small.any()
    assert not scale.any()


@given(arrays.arrays(np.float32, (3, 4, 5), elements=st.floats(-1e6, 1e6, width=32)))
def test_stored_maps_are_off_by_half_a_step_at_most(maps):
    small, scale = gallery.quantise(maps)
    error = np.abs(small * scale[:, None, None] - maps)
    assert (error <= 0.500001 * scale[:, None, None] + 1e-38).all()


def test_little_for_a_class_is_not_lost_beside_much_against_it():
    maps = np.full((1, 7, 7), -10, dtype=np.float32)
    maps[0, 3, 3] = 0.03
    small, scale = gallery.quantise(maps)
    np.testing.assert_allclose(display(small * scale, 224), display(maps, 224), atol=0.01)


def test_large_maps_become_means_of_areas_and_small_ones_stay():
    maps = np.arange(2 * 112 * 224, dtype=np.float32).reshape(2, 112, 224)
    small = gallery.downsample(maps)
    assert small.shape == (2, 56, 56)
    assert small[1, 2, 3] == pytest.approx(maps[1, 4:6, 12:16].mean())
    tiny = maps[:, :7, :14]
    np.testing.assert_array_equal(gallery.downsample(tiny), tiny)


@pytest.mark.parametrize("side", [57, 59, 111, 223])
def test_sides_that_divide_by_nothing_become_means_too(side):
    ramp = np.tile(np.arange(side, dtype=np.float32), (side, 1))
    small = gallery.downsample(ramp)
    assert small.shape == (56, 56)
    centres = (np.arange(56) + 0.5) * side / 56 - 0.5
    np.testing.assert_allclose(small[0, 1:-1], centres[1:-1], atol=0.01 * side)
    assert small.mean() == pytest.approx(ramp.mean(), rel=1e-5)


def test_the_most_probable_classes_are_selected_and_always_the_label():
    probabilities = np.array([[0.1, 0.6, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]])
    selected = gallery._select_classes(probabilities, np.array([3, 1]), 2)
    assert selected.tolist() == [[1, 3], [0, 1]]


@pytest.mark.parametrize(
    ("n_classes", "size", "expected"),
    [(10, (7, 7), 10), (150, (7, 7), 11), (150, (28, 28), 5), (10, (56, 56), 2), (1, (56, 56), 1)],
)
def test_how_many_maps_of_an_image_are_stored(n_classes, size, expected):
    sizes = [(1, 1), size]
    maps = [StoredMaps(np.zeros((1, n_classes, *shape))) for shape in sizes]
    assert gallery._n_stored(n_classes, maps) == expected


def test_every_image_is_in_one_bundle_of_its_class(built, inputs):
    assert [bundle.rows for bundle in built.bundles] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [bundle.name for bundle in built.bundles] == [
        "img-src-x-onerror-alert-1",
        "mr-mime",
        "mr-mime-2",
        "x-uni",
    ]
    assert [(p.bundle, p.at) for p in built.images[2:4]] == [("mr-mime", 0), ("mr-mime", 1)]
    mistake = built.images[1]
    assert (mistake.label, mistake.predicted, mistake.probability, mistake.own) == (0, 1, 0.7, 0.2)
    assert built.pairs == [(1, 2)]


def test_many_images_of_a_class_are_divided(inputs, monkeypatch):
    monkeypatch.setattr(gallery, "BUNDLE", 1)
    divided = gallery.build_gallery(inputs)
    assert [bundle.name for bundle in divided.bundles[2:4]] == ["mr-mime.1", "mr-mime.2"]
    assert divided.bundles[3].rows == [3]
    assert (divided.images[3].bundle, divided.images[3].at) == ("mr-mime.2", 0)


def test_a_bundles_image_has_the_very_pixels_row_by_row(inputs):
    bundle = Bundle("x", [1, 4, 6], columns=2)
    image = np.asarray(gallery.bundle_image(bundle, inputs, SIZE_PX))
    assert image.shape == (2 * SIZE_PX, 2 * SIZE_PX, 3)
    rows = inputs.test_rows
    right, below = np.s_[:SIZE_PX, SIZE_PX:], np.s_[SIZE_PX:, :SIZE_PX]
    np.testing.assert_array_equal(image[right], inputs.packed.pixels[rows[4]])
    np.testing.assert_array_equal(image[below], inputs.packed.pixels[rows[6]])
    half = np.asarray(gallery.bundle_image(bundle, inputs, SIZE_PX // 2))
    expected = Image.fromarray(inputs.packed.pixels[rows[1]]).resize((24, 24), Image.BOX)
    np.testing.assert_array_equal(half[:24, :24], expected)


def test_stored_maps_are_those_of_the_classes_that_are_named(inputs):
    bundle = Bundle("x", [1, 2], columns=2)
    data = gallery.bundle_data(bundle, inputs)
    assert data["probabilities"][0] == [2000, 7000, 500, 500]
    assert data["classes"][0] == [1, 0, 2, 3]
    for method, maps in inputs.maps.items():
        scale = np.array(data["maps"][method]["scale"])
        values = decoded(data["maps"][method]["values"], "<i2").reshape(2, 4, 3, 3)
        for at, row in enumerate(bundle.rows):
            expected = maps.values[row][data["classes"][at]]
            most = np.abs(expected).max() / 32767
            np.testing.assert_allclose(values[at] * scale[at][:, None, None], expected, atol=most)


def test_masks_boxes_and_parts(inputs):
    data = gallery.bundle_data(Bundle("x", [0, 1], columns=2), inputs)
    bits = np.unpackbits(decoded(data["masks"], np.uint8)).reshape(2, 64, 64)
    assert bits[0, 16:48, 8:40].all()
    assert bits.sum() == 2 * 32 * 32
    assert data["boxes"] == [[[0.125, 0.25, 0.625, 0.75], [0, 0.5, 0.25, 1]], []]
    assert data["parts"][0] is None
    assert data["parts"][1] == [
        {"part": "eye", "drop": 2.0, "mass": [0.5, None]},
        {"part": "tail", "drop": -0.5, "mass": [0.5, None]},
    ]


def test_without_masks_boxes_or_parts_the_script_has_none(inputs):
    bare = replace(inputs, packed=replace(inputs.packed, masks=None, boxes=None))
    bare = replace(bare, judgement=replace(inputs.judgement, parts=None))
    data = gallery.bundle_data(Bundle("x", [4], columns=1), bare)
    assert (data["masks"], data["boxes"], data["parts"]) == (None, None, [None])


def test_masks_without_an_object_are_left_out(inputs):
    assert gallery.bundle_data(Bundle("x", [4, 5], columns=2), inputs)["masks"] is None


def test_scores_are_in_the_order_of_the_methods_and_missing_ones_are_null(built, inputs):
    assert built.images[0].scores == {"pointing": [0, 0]}
    assert built.images[2].scores == {"deletion": [0.2, 0.21], "pointing": [0, 0]}
    assert built.images[-1].scores is None
    measures = gallery.page_data(built, inputs)["measures"]
    assert [measure["key"] for measure in measures] == ["deletion", "pointing"]


def test_measures_without_scores_are_not_offered(built, inputs):
    bare = replace(inputs.judgement, scores=inputs.judgement.scores.assign(deletion=np.nan))
    measures = gallery.page_data(built, replace(inputs, judgement=bare))["measures"]
    assert [measure["key"] for measure in measures] == ["pointing"]


def test_a_pair_in_two_groups_is_one_pair(inputs):
    groups = [CLASSES[:3], [CLASSES[1], CLASSES[0]]]
    assert gallery.build_gallery(replace(inputs, lookalikes=groups)).pairs == [
        (0, 1),
        (0, 2),
        (1, 2),
    ]


def test_nothing_can_end_the_script_element(built, inputs):
    text = gallery.as_json(gallery.page_data(built, inputs) | {"more": "</script>\u2028"})
    assert "<" not in text
    assert "\u2028" not in text
    data = json.loads(text)
    assert data["classes"] == CLASSES
    assert data["classes"][0] == HARMFUL
    assert data["more"] == "</script>\u2028"


def test_nan_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        gallery.as_json({"value": float("nan")})
