"""Images before another's background, and without their object."""

import numpy as np
import torch

from pokecam.judging.background import (
    AS_IT_IS,
    ELSEWHERE,
    FILLED_IN,
    MARGIN_PX,
    _of_other_classes,
    conditions,
)

SIZE_PX = 60
KEPT = slice(20 - MARGIN_PX, 40 + MARGIN_PX)
ROUND = torch.ones(SIZE_PX, SIZE_PX, dtype=torch.bool)
ROUND[KEPT, KEPT] = False


def case():
    """A bright object on fine stripes; another, elsewhere, on a plain ground."""
    x = torch.zeros(1, 3, SIZE_PX, SIZE_PX)
    x[..., ::2] = 1.0
    mask = torch.zeros(1, SIZE_PX, SIZE_PX, dtype=torch.bool)
    mask[0, 20:40, 20:40] = True
    x[0, :, mask[0]] = 3.0
    other = torch.full_like(x, 0.25)
    their_mask = torch.zeros_like(mask)
    their_mask[0, :10, :30] = True
    other[0, :, their_mask[0]] = -5.0
    return x, mask, other, their_mask


def test_the_object_is_put_before_the_other_background_without_the_others_object():
    given = case()
    before = [tensor.clone() for tensor in given]
    made = conditions(*given)
    assert torch.equal(made[AS_IT_IS], given[0])
    moved = made[ELSEWHERE]
    assert torch.equal(moved[..., KEPT, KEPT], given[0][..., KEPT, KEPT])
    assert torch.allclose(moved[0, :, ROUND], torch.tensor(0.25), atol=1e-4)
    for tensor, copy in zip(given, before, strict=True):
        assert torch.equal(tensor, copy)


def test_the_object_goes_and_the_rest_stays():
    x, *others = case()
    without = conditions(x, *others)[FILLED_IN]
    assert torch.equal(without[0, :, ROUND], x[0, :, ROUND])
    inside = without[0, :, 20:40, 20:40]
    assert inside.min() >= 0
    assert inside.max() <= 1  # the stripes are 0 and 1, the object was 3


def test_every_image_gets_a_background_of_another_class():
    labels = np.array([0, 0, 1, 2, 2, 2, 0])
    first, again, other = (
        _of_other_classes(labels, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (labels[first] != labels).all()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert _of_other_classes(np.array([3, 3, 3]), np.random.default_rng(1)) is None
