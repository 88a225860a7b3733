"""A planted truth: a network that looks at one part only.

Images are of six discs of 32 px radius, each of a colour of its own, at random places. The
network has a detector for each colour; the head gives weight to one of them. A map is right if,
of the six discs, it has most mass for each pixel on that one.
"""

import numpy as np
import pytest
import torch
from torch import nn

from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.judging import parts
from pokecam.judging.case import BASELINES
from pokecam.networks.classifier import Classifier, GlobalAverage

SIZE_PX, RADIUS_PX, CELLS = 224, 32, 7
COLOURS = torch.tensor(
    [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]
)  # of the discs; the ground is 0
PLACES = [(x, y) for y in (56, 168) for x in (37, 112, 187)]  # centres, 75 px apart
IMAGES = 20
# Eigen-CAM's map is the same for all classes: of the disc which stands out most, whatever is asked.
SOUND = [
    name
    for name, method in METHODS.items()
    if name not in BASELINES and not method.against and name != "eigen_cam"
]


class Detectors(nn.Module):
    """Six channels, each 1 on its colour and 0 on others and on the ground, in 7 × 7 cells."""

    def __init__(self):
        super().__init__()
        signs = 2 * COLOURS - 1  # (6, 3): wants what is in its colour, and nothing else
        self.detect = nn.Conv2d(3, 6, 1)
        self.detect.weight.data = signs[..., None, None].clone()
        self.detect.bias.data = 1 - COLOURS.sum(dim=1)
        self.relu = nn.ReLU()
        self.pool = nn.AvgPool2d(SIZE_PX // CELLS)

    def forward(self, x):
        return self.pool(self.relu(self.detect(x)))


def network(planted):
    """Class 0 is the planted colour's; class 1 is everything else's."""
    head = nn.Sequential()
    head.pool, head.linear = GlobalAverage(), nn.Linear(6, 2)
    head.linear.weight.data = torch.full((2, 6), 0.0)
    head.linear.weight.data[0, planted] = 30.0
    head.linear.weight.data[1] = 1.0
    head.linear.bias.data = torch.zeros(2)
    return Classifier(
        Detectors(),
        head,
        backbone="resnet18",
        head_kind="gap",
        classes=["planted", "other"],
        image_size=SIZE_PX,
    ).eval()


def scene(seed):
    """(input (1, 3, S, S), colour → where its disc is)."""
    chance = np.random.default_rng(seed)
    y, x = np.indices((SIZE_PX, SIZE_PX))
    image, regions = torch.zeros(1, 3, SIZE_PX, SIZE_PX), {}
    for colour, place in enumerate(chance.permutation(6)):
        centre = np.array(PLACES[place]) + chance.integers(-5, 6, 2)
        disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < RADIUS_PX**2
        image[0, :, torch.from_numpy(disc)] = COLOURS[colour][:, None]
        regions[colour] = disc
    return image, regions


def share_right(method):
    """Of the images, the colour to look at taking turns."""
    right = 0
    for seed in range(IMAGES):
        x, regions = scene(seed)
        planted = seed % 6
        raw = compute_maps(capture(network(planted), x), method)
        shown = display(raw[:, 0].detach().numpy(), SIZE_PX)
        density = parts.masses(shown, regions)[0] / [region.sum() for region in regions.values()]
        right += density.argmax() == planted and density.max() > 0
    return right / IMAGES


def test_the_network_sees_one_disc_only():
    x, regions = scene(0)
    without = x.clone()
    without[0, :, torch.from_numpy(~regions[2])] = 0
    model = network(2)
    detected = model.body(x)[0].sum(dim=(1, 2))
    assert (detected > 0).all()
    assert model.body(without)[0, 2].sum() == detected[2]


@pytest.mark.parametrize("method", SOUND)
def test_a_sound_method_finds_the_disc_that_decides(method):
    assert share_right(method) == 1


@pytest.mark.parametrize("method", ["eigen_cam", "random", "centre", "edges"])
def test_what_does_not_look_at_the_head_does_not_find_it(method):
    assert share_right(method) < 0.7
