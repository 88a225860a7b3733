"""A case whose results can be worked out by hand: a red square in the left or right half."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from pokecam.cam.stored_maps import StoredMaps
from pokecam.data.packed.images import Packed
from pokecam.judging.case import Case
from pokecam.judging.measures import JudgeSettings
from pokecam.networks.classifier import Classifier, GlobalAverage

SIZE_PX = 32
CLASSES = ["left", "right"]
N = 6


class Halves(nn.Module):
    """A body with two channels (N, 2, 8, 8): the red of the left half and of the right half."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        red = nn.functional.avg_pool2d(x[:, :1], SIZE_PX // 8).relu()  # (N, 1, 8, 8)
        sides = torch.zeros(2, 8, 8, device=x.device)
        sides[0, :, :4] = sides[1, :, 4:] = 1
        return red * sides * self.weight


def build_network():
    head = nn.Sequential()
    head.pool, head.linear = GlobalAverage(), nn.Linear(2, 2)
    head.linear.weight.data, head.linear.bias.data = 20 * torch.eye(2), torch.zeros(2)
    return Classifier(
        Halves(), head, backbone="resnet18", head_kind="gap", classes=CLASSES, image_size=SIZE_PX
    ).eval()


def build_case(maps=None, lookalikes=(), **packed_fields):
    """A case of N images.

    The red square is the object, and has a box. `cam` points at it, and `grad_cam` at the other
    half. `maps` replaces these maps, `lookalikes` are groups of class indices, and `packed_fields`
    replace fields of the packed images.
    """
    pixels = np.zeros((N + 2, SIZE_PX, SIZE_PX, 3), np.uint8)
    labels = np.arange(N + 2) % 2
    boxes = []
    for i, label in enumerate(labels):
        left, top = 4 + 16 * label, 4 + 2 * i
        pixels[i, top : top + 8, left : left + 8, 0] = 255
        boxes.append((f"{i}.png", CLASSES[label], left, top, left + 8, top + 8))
    manifest = pd.DataFrame(
        {"file": [f"{i}.png" for i in range(N + 2)], "label": [CLASSES[i] for i in labels]}
    )
    columns = ["image", "label", "xmin", "ymin", "xmax", "ymax"]
    packed = Packed(
        **{"pixels": pixels, "manifest": manifest, "classes": CLASSES},
        **{"masks": None, "parts": None, "scenes": None},
        boxes=pd.DataFrame(boxes, columns=columns),
    )
    rows = np.arange(2, N + 2)
    red = pixels[rows, ..., 0].reshape(N, 1, 8, 4, 8, 4).mean(axis=(3, 5)).astype(np.float32)
    values = np.concatenate([red * (labels[rows] == c)[:, None, None, None] for c in (0, 1)], 1)
    if maps is None:
        maps = {"cam": StoredMaps(values), "grad_cam": StoredMaps(values[..., ::-1].copy())}
    packed = replace(packed, **packed_fields)
    return Case(build_network(), None, packed, rows, labels[rows], maps, lookalikes)


def settings(**changes):
    values = {"judge_measures": ["faithfulness", "localization"], "judge_images": 4, "seed": 1}
    return JudgeSettings(**values | changes)
