"""Where the object is, by masks and boxes of the source."""

import numpy as np
import pandas as pd

from pokecam.data.packed.images import CORNERS
from pokecam.judging.background import classify_conditions
from pokecam.judging.ground_truth import find_ground_truth
from pokecam.judging.scores import score
from tests.judging.halves import build_case, settings


def test_only_some_images_have_boxes_and_one_has_two():
    boxes = build_case().packed.boxes
    first, second = boxes.image.iloc[2:4]
    selected = boxes[boxes.image.isin([first, second])]
    added = selected.iloc[:1].assign(xmin=0, ymin=0, xmax=2, ymax=2)
    case = build_case(boxes=pd.concat([selected, added]))
    ground_truth = find_ground_truth(case.packed, case.rows)
    assert [len(corners) for corners in ground_truth.boxes] == [2, 1, 0, 0, 0, 0]
    has_object = [True, True] + [False] * 4
    assert ground_truth.masks.any(axis=(1, 2)).tolist() == has_object
    scores = score(case, settings(judge_measures=["localization"]))
    assert (~np.isnan(scores.values["pointing"][:, 0])).tolist() == has_object
    assert set(classify_conditions(case, seed=1).file) == {first, second}


def test_masks_and_boxes_follow_from_each_other_where_only_one_is_there():
    """An image with a mask and a box keeps both."""
    case = build_case()
    masks = np.zeros(case.packed.pixels.shape[:3], np.uint8)
    first, second = case.rows[:2]
    masks[first, 1:3, 2:5] = 3
    masks[second, :, 0] = 1
    boxes = case.packed.boxes[case.packed.boxes.image.isin([case.files[1], case.files[2]])]
    case = build_case(masks=masks, boxes=boxes)
    ground_truth = find_ground_truth(case.packed, case.rows[:4])
    np.testing.assert_array_equal(ground_truth.masks[:2], masks[[first, second]] > 0)
    assert ground_truth.boxes[0].tolist() == [[2, 1, 5, 3]]
    source_boxes = boxes[CORNERS].to_numpy()
    np.testing.assert_array_equal(np.concatenate(ground_truth.boxes[1:3]), source_boxes)
    xmin, ymin, xmax, ymax = source_boxes[1].astype(int)
    assert ground_truth.masks[2, ymin:ymax, xmin:xmax].all()
    assert ground_truth.masks[2].sum() == (xmax - xmin) * (ymax - ymin)
    assert not ground_truth.masks[3].any()
    assert len(ground_truth.boxes[3]) == 0


def test_a_source_without_masks_and_boxes_has_no_ground_truth():
    case = build_case(boxes=None)
    assert find_ground_truth(case.packed, case.rows) is None
