"""How far the margin between look-alikes falls without the most salient pixels."""

import numpy as np
import pytest
import torch

from pokecam.judging import tables
from pokecam.judging.lookalikes import compare_lookalikes, margin_drops
from tests.judging.halves import build_case

SIZE_PX = 20
BRIGHT = np.zeros((SIZE_PX, SIZE_PX), np.float32)
BRIGHT[3:7, 4:9] = 1  # 20 pixels, 5 % of the image
DARK = np.zeros_like(BRIGHT)
DARK[12:16, 4:9] = 1


def logits(x):
    """Ten times the mean of the image for class 0, 0 for class 1, 7 for class 2."""
    score = 10 * x.mean(dim=(1, 2, 3))
    return torch.stack([score, torch.zeros_like(score), torch.full_like(score, 7)], dim=1)


def image():
    return torch.from_numpy(BRIGHT).expand(1, 3, -1, -1).clone()


@pytest.mark.parametrize(("against", "margin"), [(1, 0.5), (2, -6.5)])
def test_margin_and_drop_by_hand(against, margin):
    """Filled in from dark surroundings, the bright spot becomes dark; the mean was 20 / 400."""
    heatmaps = np.stack([BRIGHT, DARK])[None]
    classes, references = torch.tensor([0]), torch.tensor([against])
    margins, drops = margin_drops(logits, image(), classes, references, heatmaps, seeds=[0])
    assert margins.tolist() == pytest.approx([margin])
    assert drops[0] == pytest.approx([0.5, 0], abs=0.01)  # noise of 0.01 a pixel


def test_images_do_not_mix():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 3, SIZE_PX, SIZE_PX, generator=generator)
    heatmaps = np.random.default_rng(2).random((3, 2, SIZE_PX, SIZE_PX), dtype=np.float32)
    classes, references = torch.tensor([0, 2, 0]), torch.tensor([1, 0, 2])
    before = x.clone()
    margins, drops = margin_drops(logits, x, classes, references, heatmaps, seeds=[5, 6, 7])
    assert torch.equal(x, before)
    second = slice(1, 2)
    margin, drop = margin_drops(
        logits, x[second], classes[second], references[second], heatmaps[second], seeds=[6]
    )
    assert margin == pytest.approx(margins[second])
    assert drop == pytest.approx(drops[second])


def test_look_alikes_are_compared_on_the_difference_of_their_maps():
    """The difference points at the red square, without which the margin is 0. The other half of the
    image does not affect the margin."""
    case = build_case(lookalikes=[[0, 1]])
    table = compare_lookalikes(case, np.arange(4), seed=1)
    assert len(table) == 4 * len(case.methods)
    assert set(zip(table.label, table.against, strict=True)) == {
        ("left", "right"),
        ("right", "left"),
    }
    by_method = dict(list(table.groupby("method")))
    cam = by_method["cam"]
    assert (cam["drop"] > 0.5 * cam.margin).all()
    assert by_method["grad_cam"]["drop"].abs().max() < 0.1
    assert table.differing.isna().all()
    summary = tables.lookalike_summary(table, seed=0).set_index(["measure", "label", "method"])
    assert summary.loc[("drop", "", "cam"), "n"] == 4
    assert summary.loc[("drop", "left", "cam"), "value"] == pytest.approx(
        cam[cam.label == "left"]["drop"].mean()
    )


def test_without_look_alikes_there_is_nothing_to_compare():
    table = compare_lookalikes(build_case(), np.arange(4), seed=1)
    assert table.empty
    assert tables.lookalike_summary(table, seed=0).empty
