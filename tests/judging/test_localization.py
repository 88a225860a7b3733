"""Localization, against maps worked out by hand, flood fill, pixel grids and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import average_precision_score

from pokecam.cam.display import display
from pokecam.judging.localization import (
    THRESHOLDS,
    best_ious,
    box,
    box_hits,
    boxes_of_masks,
    energy_inside,
    iou,
    masks_of_boxes,
    max_box_acc_v2,
    pixel_average_precision,
    pointing_game,
    value_counts,
)

NO_BOXES = np.zeros((0, 4))


def maps(*rows_of_each) -> np.ndarray:
    return np.array(rows_of_each, dtype=np.float32)


def square(size_px: int, *box_of_each) -> np.ndarray:
    return masks_of_boxes([np.array([corners], dtype=float) for corners in box_of_each], size_px)


def flood_components(reached: np.ndarray) -> list[list[tuple[int, int]]]:
    """The pixels of each 8-connected component, components in row order of their first pixels."""
    remaining = {(int(y), int(x)) for y, x in np.argwhere(reached)}
    components = []
    for start in sorted(remaining):
        if start not in remaining:
            continue
        remaining.remove(start)
        component = [start]
        for y, x in component:  # grows as it is walked
            neighbours = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & remaining
            remaining -= neighbours
            component += sorted(neighbours)
        components.append(component)
    return components


def box_of(component: list[tuple[int, int]]) -> list[int]:
    rows, columns = zip(*component, strict=True)
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def pixels_of(one_box) -> set[tuple[int, int]]:
    xmin, ymin, xmax, ymax = (int(edge) for edge in one_box)
    return {(x, y) for x in range(xmin, xmax) for y in range(ymin, ymax)}


def grid_iou(a, b) -> float:
    a, b = pixels_of(a), pixels_of(b)
    return len(a & b) / len(a | b) if a | b else 0.0


# Objects


def test_a_box_of_whole_pixels_is_filled():
    mask = masks_of_boxes([np.array([[1.0, 0, 3, 2]])], 4)[0]
    assert mask.astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_centre_on_the_lower_edge_is_inside_and_on_the_upper_one_is_not():
    mask = masks_of_boxes([np.array([[0.5, 1.5, 2.5, 3.5]])], 4)[0]
    assert mask.any(axis=0).tolist() == [True, True, False, False]
    assert mask.any(axis=1).tolist() == [False, True, True, False]


def test_boxes_of_an_image_are_joined_and_may_be_none_or_reach_outside():
    two = np.array([[-5.0, -5, 1, 1], [2, 2, 9, 9]])
    masks = masks_of_boxes([two, NO_BOXES], 3)
    assert masks[0].tolist() == [[True, False, False], [False, False, False], [False, False, True]]
    assert not masks[1].any()


def test_the_box_of_a_mask_holds_all_its_pieces():
    mask = np.zeros((2, 5, 5), dtype=bool)
    mask[0, 1, 2] = mask[0, 3, 0] = True
    box_of_pieces, no_box = boxes_of_masks(mask)
    assert box_of_pieces.tolist() == [[0, 1, 3, 4]]
    assert no_box.shape == (0, 4)


@given(st.tuples(*[st.integers(0, 6)] * 2), st.tuples(*[st.integers(1, 6)] * 2))
def test_a_box_of_whole_pixels_comes_back(corner, sides):
    whole = np.array([[*corner, corner[0] + sides[0], corner[1] + sides[1]]], dtype=float)
    assert boxes_of_masks(masks_of_boxes([whole], 12))[0].tolist() == whole.tolist()


# Pointing game and energy


def test_perfect_inverted_constant_and_empty_maps():
    mask = square(4, [1, 1, 3, 3])[0]
    heatmaps = np.stack([mask, ~mask, mask | True, mask & False]).astype(np.float32)
    masks = np.stack([mask] * 4)
    np.testing.assert_array_equal(pointing_game(heatmaps, masks), [1, 0, 0, 0])
    np.testing.assert_array_equal(energy_inside(heatmaps, masks), [1, 0, 4 / 16, np.nan])


def test_a_constant_map_misses_even_the_whole_image():
    heatmaps = np.stack([np.ones((3, 3)), np.zeros((3, 3))]).astype(np.float32)
    assert pointing_game(heatmaps, np.ones((2, 3, 3), dtype=bool)).tolist() == [0, 0]


def test_an_empty_mask_is_not_a_miss():
    heatmaps = maps([[1, 0], [0, 0]], [[0, 0], [0, 0]])
    nothing = np.zeros((2, 2, 2), dtype=bool)
    assert np.isnan(pointing_game(heatmaps, nothing)).all()
    assert np.isnan(energy_inside(heatmaps, nothing)).all()


def test_the_first_of_equal_maxima_points():
    heatmaps = maps([[0, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert pointing_game(heatmaps, square(3, [2, 0, 3, 1])).item() == 1
    assert pointing_game(heatmaps, square(3, [0, 1, 1, 2])).item() == 0


def test_energy_by_hand():
    heatmaps = maps([[1, 0.5], [0.25, 0.25]])
    assert energy_inside(heatmaps, square(2, [0, 0, 1, 2])).item() == 1.25 / 2


# Boxes


def test_the_largest_component_is_boxed():
    heatmap = maps(
        [1, 0, 0, 0.2, 0.2],
        [0, 0, 0, 0, 0.2],
        [0, 0, 0, 0, 0.1],
    )
    assert box(heatmap, 0.15).tolist() == [3, 0, 5, 2]
    assert box(heatmap, 0.1).tolist() == [3, 0, 5, 3]
    assert box(heatmap, 0.5).tolist() == [0, 0, 1, 1]
    assert box(heatmap, 0).tolist() == [0, 0, 5, 3]


def test_the_largest_has_the_most_pixels_not_the_widest_box():
    heatmap = maps(
        [1, 0, 0, 1, 1],
        [0, 1, 0, 1, 1],
        [0, 0, 1, 0, 0],  # touches the square by its corner
        [0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1],
    )
    assert box(heatmap, 0.5).tolist() == [0, 0, 5, 3]
    heatmap[2, 2] = 0
    assert box(heatmap, 0.5).tolist() == [0, 4, 5, 5]
    heatmap[4, 3:] = 0
    assert box(heatmap, 0.5).tolist() == [3, 0, 5, 2]


def test_the_threshold_is_relative_to_the_maximum_and_reached_by_equals():
    heatmap = maps([0.7, 0.5, 1, 0.5])
    assert box(heatmap, 0.7).tolist() == [0, 0, 1, 1]  # the first of two equal ones
    assert box(heatmap / 2, 0.5).tolist() == [0, 0, 4, 1]
    assert box(heatmap, np.float64(0.7)).tolist() == box(heatmap, 0.7).tolist()


def test_a_map_of_zeros_has_no_box():
    assert box(np.zeros((3, 3), dtype=np.float32), 0.15) is None


def test_iou_by_hand():
    a = np.array([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    b = np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [5, 5, 6, 6], [0, 0, 2, 0.5]])
    expected = [[1 / 7, 1, 0, 0, 1 / 4], [0, 1 / 4, 0, 0, 0.5 / 1.5]]
    np.testing.assert_allclose(iou(a, b), expected)
    assert iou(a, NO_BOXES).shape == (2, 0)
    assert iou(NO_BOXES, b).shape == (0, 5)


def test_boxes_without_area_share_nothing():
    point = np.array([[1.0, 1, 1, 1]])
    assert iou(point, np.array([[1.0, 1, 1, 1], [0, 0, 2, 2]])).tolist() == [[0, 0]]


whole_boxes = st.tuples(*[st.integers(0, 5)] * 4).map(
    lambda ends: [min(ends[0], ends[2]), min(ends[1], ends[3]), *map(max, ends[:2], ends[2:])]
)


@given(whole_boxes, whole_boxes)
def test_iou_equals_counting_pixels(a, b):
    assert iou(np.array([a], dtype=float), np.array([b], dtype=float)).item() == grid_iou(a, b)


# Best boxes over thresholds

# Two hills of 1 and 0.8, with a pass of 0.4 between them.
HILLS = maps([[0, 0, 0, 0, 0], [1, 0.6, 0.4, 0.8, 0.8], [0, 0, 0, 0, 0], [0] * 5, [0] * 5])
AT = (0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


def test_every_component_is_tried_at_every_threshold():
    left, right = np.array([[0.0, 1, 2, 2]]), np.array([[3.0, 1, 5, 2]])
    expected_left = [2 / 25, 2 / 5, 2 / 5, 1, 1, 1 / 2, 1 / 2, 1 / 2, 1 / 2]
    expected_right = [2 / 25, 2 / 5, 2 / 5, 1, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(best_ious(HILLS, [left], AT)[0], expected_left)
    np.testing.assert_allclose(best_ious(HILLS, [right], AT)[0], expected_right)
    both = np.concatenate([left, right])
    np.testing.assert_allclose(
        best_ious(HILLS, [both], AT)[0], np.maximum(expected_left, expected_right)
    )


def test_perfect_inverted_and_constant_maps_boxed():
    mask = square(4, [1, 1, 3, 3])[0]
    heatmaps = np.stack([mask, ~mask, mask | True]).astype(np.float32)
    ious = best_ious(heatmaps, [np.array([[1.0, 1, 3, 3]])] * 3, (0, 0.5, 1))
    assert ious.tolist() == [[0.25, 1, 1], [0.25] * 3, [0.25] * 3]


def test_an_empty_map_has_no_overlap_and_an_image_without_boxes_is_no_miss():
    whole = np.array([[0.0, 0, 5, 5]])
    ious = best_ious(np.concatenate([HILLS * 0, HILLS, HILLS]), [whole, NO_BOXES, whole])
    assert ious.shape == (3, len(THRESHOLDS))
    assert (ious[0] == 0).all()
    assert np.isnan(ious[1]).all()
    assert ious[2, 0] == 1  # all pixels reach 0


def test_hills_that_meet_at_a_corner_only_are_one():
    ious = best_ious(maps([[1, 0], [0, 0.6]]), [np.array([[0.0, 0, 2, 2]])], (0.5, 0.7))
    assert ious.tolist() == [[1, 1 / 4]]


def test_a_ring_is_one_component():
    heatmaps = np.ones((1, 7, 7), dtype=np.float32)
    heatmaps[0, 1:6, 1:6] = 0
    heatmaps[0, 3, 3] = 0.5
    ious = best_ious(heatmaps, [np.array([[0.0, 0, 7, 7], [3, 3, 4, 4]])], (0.5, 0.6))
    assert ious.tolist() == [[1, 1]]
    ious = best_ious(heatmaps, [np.array([[3.0, 3, 4, 4]])], (0.5, 0.6))
    np.testing.assert_allclose(ious, [[1, 1 / 49]])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 6), st.integers(0, 2))
def test_best_ious_equal_flood_fill(seed, size_px, n_values, smoothing):
    rng = np.random.default_rng(seed)
    heatmap = rng.integers(0, n_values, (size_px, size_px)) / (n_values - 1)
    heatmap = (ndimage.uniform_filter(heatmap, 1 + 2 * smoothing).clip(0, 1)).astype(np.float32)
    corner = rng.integers(0, size_px, (3, 2))
    true = np.concatenate([corner, corner + rng.integers(1, 4, (3, 2))], axis=1)
    thresholds = np.array([0, 0.1, 0.25, 0.5, 0.75, 1])
    expected = [
        max(
            (
                grid_iou(box_of(component), each)
                for component in flood_components(heatmap >= np.float32(threshold))
                for each in true
            ),
            default=0,
        )
        for threshold in thresholds
    ]
    ious = best_ious(heatmap[None], [true.astype(float)], thresholds)
    np.testing.assert_allclose(ious[0], expected if heatmap.any() else 0 * thresholds)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
def test_box_equals_flood_fill(seed, size_px, threshold):
    # Few values reach a high threshold, so that components are small and often equally large.
    heatmap = np.random.default_rng(seed).random((size_px, size_px), dtype=np.float32) ** 2
    components = flood_components(heatmap >= np.float32(threshold) * heatmap.max())
    assert box(heatmap, threshold).tolist() == box_of(max(components, key=len))


@pytest.mark.parametrize(("grid", "size_px"), [(7, 224), (14, 96), (48, 48)])
def test_best_ious_of_heatmaps_equal_labelling_at_every_threshold(grid, size_px):
    raw = np.random.default_rng(grid).normal(size=(grid, grid))
    heatmap = display(raw.astype(np.float32), size_px)
    true = np.array([[0.2, 0.3, 0.5, 0.7], [0.6, 0.1, 0.9, 0.3]]) * size_px
    expected = []
    for threshold in THRESHOLDS.astype(np.float32):
        labels, _ = ndimage.label(heatmap >= threshold, np.ones((3, 3)))
        slices = ndimage.find_objects(labels)
        drawn = np.array([[x.start, y.start, x.stop, y.stop] for y, x in slices], dtype=float)
        expected.append(iou(drawn, true).max())
    np.testing.assert_array_equal(best_ious(heatmap[None], [true])[0], expected)


# Shares of images


def max_box_acc(ious, **options):
    return max_box_acc_v2(np.nanmean(box_hits(ious, **options), axis=0))


def test_max_box_acc_v2_by_hand():
    ious = np.array([[0.3, 0.6, 0.1], [0.7, 0.5, 0.1], [np.nan] * 3])
    hits = box_hits(ious)
    assert np.isnan(hits[2]).all()
    shares = [[1, 1, 0], [1 / 2, 1, 0], [1 / 2, 0, 0]]
    assert hits[:2].mean(axis=0).tolist() == shares
    assert max_box_acc(ious) == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert max_box_acc(ious, deltas=(0.7,)) == 1 / 2


def test_several_sets_of_images_are_scored_together():
    shares = np.random.default_rng(0).random((4, 3, 5))
    each = [max_box_acc_v2(shares_of_set) for shares_of_set in shares]
    assert max_box_acc_v2(shares).tolist() == pytest.approx(each)


# Pixel average precision


def px_ap(*arguments, **options):
    counts = value_counts(*arguments, **options)
    return pixel_average_precision(counts[~np.isnan(counts).any(axis=(1, 2))].sum(axis=0))


def test_pixel_average_precision_by_hand():
    heatmaps = maps([[1, 0.75], [0.5, 0]])
    mask = np.array([[[True, False], [True, False]]])
    # Half of the object has precision 1, the rest 2/3.
    assert px_ap(heatmaps, mask) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_values_in_one_bin_are_tied():
    heatmaps = maps([[1, 0.75], [0.5, 0]])
    mask = np.array([[[True, True], [False, False]]])
    assert px_ap(heatmaps, mask) == 1
    # Bins [0, 0.5), [0.5, 1) and 1 alone: 0.75 comes with 0.5, at precision 2/3.
    assert px_ap(heatmaps, mask, bins=2) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    # One bin [0, 1), and 1 alone: with 0.5 and 0, at precision 2/4.
    assert px_ap(heatmaps, mask, bins=1) == pytest.approx(1 / 2 + 1 / 2 * 2 / 4)


def test_perfect_inverted_constant_and_empty_maps_by_pixels():
    mask = square(4, [1, 1, 3, 3])
    for heatmaps, expected in [
        (mask, 1),
        (~mask, 1 / 4),  # the whole object at τ = 0, with all other pixels
        (mask | True, 1 / 4),
        (mask & False, 1 / 4),
    ]:
        assert px_ap(heatmaps.astype(np.float32), mask) == expected


def test_pixels_are_pooled_and_images_without_object_left_out():
    heatmaps = maps([[1, 0], [0, 0]], [[0.5, 0.75], [0, 0]], [[1, 1], [1, 1]])
    masks = np.array([[[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]], dtype=bool)
    # From the top: 1 (object), 0.75 (background), 0.5 (object); the mean over images would be 3/4.
    assert px_ap(heatmaps, masks) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert np.isnan(value_counts(heatmaps[2:], masks[2:])).all()


@pytest.mark.parametrize("bins", [1, 10, 1000])
def test_pixel_average_precision_equals_scikit_learn(bins):
    rng = np.random.default_rng(bins)
    steps = rng.integers(0, bins + 1, (3, 20, 20))
    masks = rng.random(steps.shape) < steps / bins * 0.5
    heatmaps = (steps / bins).astype(np.float32)
    expected = average_precision_score(masks.ravel(), steps.ravel())
    assert px_ap(heatmaps, masks, bins) == pytest.approx(expected, rel=1e-12)


# All of them


def example_images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    heatmaps = display(rng.normal(size=(6, 4, 4)).astype(np.float32), 24)
    heatmaps[2] = 0
    masks = square(24, *[[2 * i, i, 2 * i + 9, i + 12] for i in range(6)])
    masks[4] = False
    return heatmaps, masks


def test_images_do_not_mix():
    heatmaps, masks = example_images()
    order = [3, 5, 0, 4, 2, 1]
    boxes = boxes_of_masks(masks)
    for measure in (
        lambda rows: pointing_game(heatmaps[rows], masks[rows]),
        lambda rows: energy_inside(heatmaps[rows], masks[rows]),
        lambda rows: best_ious(heatmaps[rows], [boxes[i] for i in rows]),
    ):
        together = measure(range(6))
        np.testing.assert_array_equal(measure(order), together[order])
        np.testing.assert_array_equal(np.concatenate([measure([i]) for i in range(6)]), together)
        assert len(measure([])) == 0
    assert px_ap(heatmaps[order], masks[order]) == px_ap(heatmaps, masks)
    ious = best_ious(heatmaps, boxes)
    assert max_box_acc(ious[order]) == pytest.approx(max_box_acc(ious))


def test_inputs_are_not_changed():
    heatmaps, masks = example_images()
    boxes = boxes_of_masks(masks)
    arrays = [heatmaps, masks, *boxes]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False  # as a memory map opened for reading
    pointing_game(heatmaps, masks)
    energy_inside(heatmaps, masks)
    box(heatmaps[0], 0.15)
    max_box_acc(best_ious(heatmaps, boxes))
    px_ap(heatmaps, masks)
    masks_of_boxes(boxes, 24)
    for array, before in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("measure", [pointing_game, energy_inside, value_counts])
def test_masks_that_do_not_fit_are_refused(measure):
    heatmaps, masks = example_images()
    with pytest.raises(ValueError, match="must be bool, but are uint8"):
        measure(heatmaps, masks.astype(np.uint8))
    with pytest.raises(ValueError, match=r"are \(6, 24, 24\) and \(5, 24, 24\)"):
        measure(heatmaps, masks[1:])
    with pytest.raises(ValueError, match=r"must both be \(N, S, S\)"):
        measure(heatmaps[0], masks[0])


def test_raw_maps_are_refused():
    heatmaps, masks = example_images()
    boxes = boxes_of_masks(masks)
    for wrong in (heatmaps * 2, -heatmaps, heatmaps * np.float32(np.nan)):
        with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
            best_ious(wrong, boxes)
        with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
            value_counts(wrong, masks)


def test_boxes_and_thresholds_that_do_not_fit_are_refused():
    heatmaps, masks = example_images()
    boxes = boxes_of_masks(masks)
    with pytest.raises(ValueError, match="6 heatmaps, but the boxes of 5 images"):
        best_ious(heatmaps, boxes[1:])
    with pytest.raises(ValueError, match="must ascend"):
        best_ious(heatmaps, boxes, (0.5, 0.2))
