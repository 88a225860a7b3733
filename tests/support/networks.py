"""The networks that the tests run: one of every family, all in the long form of the tests."""

import pytest

from pokecam.networks import backbones
from pokecam.networks.families import BACKBONES

SIZE_PX = 64

# The smallest network of every family, and the networks of the shipped weights and figures.
CHOSEN = (
    *("mobilenet_v3_small", "mobilenet_v2", "resnet18", "vgg11", "alexnet", "squeezenet1_1"),
    *("densenet121", "googlenet", "inception_v3", "shufflenet_v2_x0_5", "mnasnet0_5"),
    *("efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "maxvit_t", "swin_t", "vit_b_32"),
)


def backbone_parameters(names=BACKBONES):
    """Return backbones as parameters of a test. All that are not in `CHOSEN` are marked slow."""
    return [
        name if name in CHOSEN else pytest.param(name, marks=pytest.mark.slow) for name in names
    ]


def backbone_and_head_parameters():
    """Return (backbone, head) for both heads of every backbone, with the same marks."""
    return [
        pytest.param(
            (name, head),
            id=f"{name}-{head}",
            marks=[] if name in CHOSEN else pytest.mark.slow,
        )
        for name in BACKBONES
        for head in ("gap", "native")
    ]


def size_px(backbone):
    """Return a small side that the backbone takes."""
    return max(SIZE_PX, backbones.smallest_image_px(backbone))
