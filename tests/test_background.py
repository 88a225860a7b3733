"""Pictures without their background, and without their object."""

import torch

from pokecam.background import CONDITIONS, MARGIN_PX, conditions

SIZE_PX = 60


def case():
    """A bright object on fine stripes."""
    x = torch.zeros(1, 3, SIZE_PX, SIZE_PX)
    x[..., ::2] = 1.0
    mask = torch.zeros(1, SIZE_PX, SIZE_PX, dtype=torch.bool)
    mask[0, 20:40, 20:40] = True
    x[0, :, mask[0]] = 3.0
    return x, mask


def test_the_object_stays_and_the_rest_is_smooth():
    x, mask = case()
    before = x.clone()
    made = conditions(x, mask)
    assert tuple(made) == CONDITIONS
    assert torch.equal(made["as it is"], x)
    kept = slice(20 - MARGIN_PX, 40 + MARGIN_PX)
    without = made["background blurred"]
    assert torch.equal(without[..., kept, kept], x[..., kept, kept])
    stripes = (without[0, :, :10, 1:] - without[0, :, :10, :-1]).abs()
    assert stripes.max() < 0.2  # they were 1
    assert torch.equal(x, before)


def test_the_object_goes_and_the_rest_stays():
    x, mask = case()
    without = conditions(x, mask)["object blurred"]
    outside = torch.ones(SIZE_PX, SIZE_PX, dtype=torch.bool)
    outside[20 - MARGIN_PX : 40 + MARGIN_PX, 20 - MARGIN_PX : 40 + MARGIN_PX] = False
    assert torch.equal(without[0, :, outside], x[0, :, outside])
    assert without[0, :, 20:40, 20:40].std() < 0.5


def test_where_the_object_is_everywhere_nothing_is_background():
    x, mask = case()
    made = conditions(x, torch.ones_like(mask))
    assert torch.equal(made["background blurred"], x)
