"""How far a margin falls without what a map points at."""

import numpy as np
import pytest
import torch

from pokecam.judging.lookalikes import margin_drops

SIZE_PX = 20
BRIGHT = np.zeros((SIZE_PX, SIZE_PX), np.float32)
BRIGHT[3:7, 4:9] = 1  # 20 pixels, 5 % of the image
DARK = np.zeros_like(BRIGHT)
DARK[12:16, 4:9] = 1


def logits(x):
    """Class 0: ten times the mean of the image; class 1: nothing; class 2: 7."""
    score = 10 * x.mean(dim=(1, 2, 3))
    return torch.stack([score, torch.zeros_like(score), torch.full_like(score, 7)], dim=1)


def image():
    return torch.from_numpy(BRIGHT).expand(1, 3, -1, -1).clone()


@pytest.mark.parametrize(("against", "margin"), [(1, 0.5), (2, -6.5)])
def test_margin_and_drop_by_hand(against, margin):
    """Filled in from a dark surrounding, the bright spot is gone: the mean was 20 / 400."""
    shown = np.stack([BRIGHT, DARK])[None]
    x, of = image(), torch.tensor([0])
    margins, drops = margin_drops(logits, x, of, torch.tensor([against]), shown, seeds=[0])
    assert margins.tolist() == pytest.approx([margin])
    assert drops[0] == pytest.approx([0.5, 0], abs=0.01)  # noise of 0.01 a pixel


def test_images_do_not_mix():
    chance = torch.Generator().manual_seed(1)
    x = torch.randn(3, 3, SIZE_PX, SIZE_PX, generator=chance)
    shown = np.random.default_rng(2).random((3, 2, SIZE_PX, SIZE_PX), dtype=np.float32)
    of, against = torch.tensor([0, 2, 0]), torch.tensor([1, 0, 2])
    before = x.clone()
    margins, drops = margin_drops(logits, x, of, against, shown, seeds=[5, 6, 7])
    assert torch.equal(x, before)
    one, alone = margin_drops(logits, x[1:2], of[1:2], against[1:2], shown[1:2], seeds=[6])
    assert one == pytest.approx(margins[1:2])
    assert alone == pytest.approx(drops[1:2])
