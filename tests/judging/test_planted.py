"""A planted ground truth: a network that depends on one disc only.

Images show six discs with a radius of 32 px, each of another colour, in random positions. The body
has a detector for each colour, and the head uses one of them. A map is right if its mass for each
pixel is largest on that disc.
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
)  # of the discs; the background is 0
CENTRES_PX = [(x, y) for y in (56, 168) for x in (37, 112, 187)]  # of the discs, 75 px apart
IMAGES = 20
# The map of Eigen-CAM is the same for all classes, and shows the disc with most contrast.
SOUND = [
    name
    for name, method in METHODS.items()
    if name not in BASELINES and not method.against and name != "eigen_cam"
]


class Detectors(nn.Module):
    """Six channels of 7 × 7 cells, each 1 on its colour, and 0 on others and on the background."""

    def __init__(self):
        super().__init__()
        signs = 2 * COLOURS - 1  # (6, 3): + for the components of its colour, − for others
        self.detect = nn.Conv2d(3, 6, 1)
        self.detect.weight.data = signs[..., None, None].clone()
        self.detect.bias.data = 1 - COLOURS.sum(dim=1)
        self.relu = nn.ReLU()
        self.pool = nn.AvgPool2d(SIZE_PX // CELLS)

    def forward(self, x):
        return self.pool(self.relu(self.detect(x)))


def network(planted):
    """Class 0 depends on the planted colour, class 1 on all colours."""
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
    """An image (1, 3, S, S), and colour → where its disc is."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIZE_PX, SIZE_PX))
    image, regions = torch.zeros(1, 3, SIZE_PX, SIZE_PX), {}
    for colour, position in enumerate(rng.permutation(6)):
        centre = np.array(CENTRES_PX[position]) + rng.integers(-5, 6, 2)
        disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < RADIUS_PX**2
        image[0, :, torch.from_numpy(disc)] = COLOURS[colour][:, None]
        regions[colour] = disc
    return image, regions


def share_right(method):
    """The share of images with a right map. The planted colours take turns."""
    n_right = 0
    for seed in range(IMAGES):
        x, regions = scene(seed)
        planted = seed % 6
        raw = compute_maps(capture(network(planted), x), method)
        heatmaps = display(raw[:, 0].detach().numpy(), SIZE_PX)
        areas = [region.sum() for region in regions.values()]
        density = parts.masses(heatmaps, regions)[0] / areas
        n_right += density.argmax() == planted and density.max() > 0
    return n_right / IMAGES


def test_each_detector_responds_to_its_disc_only():
    x, regions = scene(0)
    only_one = x.clone()
    only_one[0, :, torch.from_numpy(~regions[2])] = 0
    model = network(2)
    detected = model.body(x)[0].sum(dim=(1, 2))
    assert (detected > 0).all()
    assert model.body(only_one)[0, 2].sum() == detected[2]


@pytest.mark.parametrize("method", SOUND)
def test_a_sound_method_finds_the_planted_disc(method):
    assert share_right(method) == 1


@pytest.mark.parametrize("method", ["eigen_cam", "random", "centre", "edges"])
def test_methods_that_do_not_read_the_head_do_not_find_it(method):
    assert share_right(method) < 0.7
