"""A network of one convolution, images of three colours, and a short training of them."""

import numpy as np
import torch
from torch import nn

from pokecam.networks.classifier import Classifier, GlobalAverage
from pokecam.training.fit import fit
from pokecam.training.settings import Recipe
from pokecam.training.trainer import LabelledImages

CLASSES = ("red", "green", "blue")
SIZE_PX = 32
RECIPE = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "weight_decay": 0.02,
    "label_smoothing": 0.1,
    "zoom_out": 0.0,
    "freeze": "none",
    "seed": 1,
}


def labelled_images(n=24, seed=0, noise=40):
    """Images of one of three colours, under strong noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    colours = np.array([(190, 90, 90), (90, 190, 90), (90, 90, 190)])[labels]
    pixels = colours[:, None, None, :] + rng.normal(0, noise, (n, SIZE_PX, SIZE_PX, 3))
    return LabelledImages(pixels.clip(0, 255).astype(np.uint8), np.arange(n), labels)


def tiny_classifier(seed=0):
    """A classifier of one convolution, BatchNorm and one linear layer."""
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(3, 8, kernel_size=3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    )
    head = nn.Sequential()
    head.pool, head.linear = GlobalAverage(), nn.Linear(8, 3)
    return Classifier(
        body, head, backbone="resnet18", head_kind="gap", classes=CLASSES, image_size=SIZE_PX
    )


def fine_tune(model, train, val, *, pretrained=True, checkpoint=None, **changes):
    """Fit with `RECIPE`, some of it changed; return the history."""
    recipe = Recipe(**(RECIPE | changes))
    return fit(model, train, val, recipe, pretrained=pretrained, checkpoint=checkpoint)


def train_tiny(**changes):
    """Train a tiny classifier on 24 images; return it and the history."""
    model = tiny_classifier()
    return model, fine_tune(model, labelled_images(), labelled_images(seed=1), **changes)
