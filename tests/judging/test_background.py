"""Images with the background of another class, and with their object filled in."""

import numpy as np
import torch

from pokecam.judging import tables
from pokecam.judging.background import (
    FILLED_IN,
    MARGIN_PX,
    MISCLASSIFIED,
    ORIGINAL,
    OTHER_BACKGROUND,
    _choose_partners,
    classify_conditions,
    conditions,
)
from tests.judging.halves import N, build_case

SIZE_PX = 60
OBJECT = slice(20 - MARGIN_PX, 40 + MARGIN_PX)
BACKGROUND = torch.ones(SIZE_PX, SIZE_PX, dtype=torch.bool)
BACKGROUND[OBJECT, OBJECT] = False


def two_images():
    """A bright object on fine stripes, and another object, elsewhere, on a plain background."""
    x = torch.zeros(1, 3, SIZE_PX, SIZE_PX)
    x[..., ::2] = 1.0
    mask = torch.zeros(1, SIZE_PX, SIZE_PX, dtype=torch.bool)
    mask[0, 20:40, 20:40] = True
    x[0, :, mask[0]] = 3.0
    other = torch.full_like(x, 0.25)
    other_mask = torch.zeros_like(mask)
    other_mask[0, :10, :30] = True
    other[0, :, other_mask[0]] = -5.0
    return x, mask, other, other_mask


def test_the_object_is_pasted_on_the_other_background_without_the_other_object():
    arguments = two_images()
    copies = [tensor.clone() for tensor in arguments]
    changed = conditions(*arguments)
    x = arguments[0]
    assert torch.equal(changed[ORIGINAL], x)
    moved = changed[OTHER_BACKGROUND]
    assert torch.equal(moved[..., OBJECT, OBJECT], x[..., OBJECT, OBJECT])
    assert torch.allclose(moved[0, :, BACKGROUND], torch.tensor(0.25), atol=1e-4)
    for tensor, copy in zip(arguments, copies, strict=True):
        assert torch.equal(tensor, copy)


def test_the_object_is_filled_in_and_the_background_stays():
    x, *further = two_images()
    filled = conditions(x, *further)[FILLED_IN]
    assert torch.equal(filled[0, :, BACKGROUND], x[0, :, BACKGROUND])
    inside = filled[0, :, 20:40, 20:40]
    assert inside.min() >= 0
    assert inside.max() <= 1  # the stripes are 0 and 1, the object was 3


def test_every_image_gets_a_background_of_another_class():
    labels = np.array([0, 0, 1, 2, 2, 2, 0])
    first, again, other = (
        _choose_partners(labels, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (labels[first] != labels).all()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert _choose_partners(np.array([3, 3, 3]), np.random.default_rng(1)) is None


def test_this_network_relies_on_the_object_and_not_on_the_background():
    table = classify_conditions(build_case(), seed=1)
    share = table.groupby("condition").is_predicted.mean()
    assert share[ORIGINAL] == share[OTHER_BACKGROUND] == 1
    assert share[MISCLASSIFIED] == 0
    assert share[FILLED_IN] < 1
    assert len(table) == 4 * N
    background_labels = table[table.condition == MISCLASSIFIED].set_index("file").label
    labels = table[table.condition == OTHER_BACKGROUND].set_index("file").label
    assert (background_labels != labels).all()
    summary = tables.condition_summary(table, seed=0).set_index(["label", "condition"])
    assert summary.loc[("", ORIGINAL), "n"] == N
    assert summary.loc[("left", OTHER_BACKGROUND), "value"] == 1


def test_without_ground_truth_there_are_no_conditions():
    table = classify_conditions(build_case(boxes=None), seed=1)
    assert table.empty
    assert tables.condition_summary(table, seed=0).empty


def test_where_objects_of_one_class_are_known_the_background_is_not_changed():
    boxes = build_case().packed.boxes
    case = build_case(boxes=boxes[boxes.label == "left"])
    table = classify_conditions(case, seed=1)
    assert set(table.condition) == {ORIGINAL, FILLED_IN}
