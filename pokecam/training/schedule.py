"""How long training lasts, at which learning rate, on views of which size, with which weights."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from pokecam.networks import backbones
from pokecam.networks.classifier import Classifier

IMAGES_SEEN = 4500  # an epoch shows each training image once; there are as many as come to this …
EPOCHS = (8, 40)  # … within these bounds
VIEW = 5 / 7  # side of a training view : side of an evaluated image
WARM_UP = 0.1  # fraction of the steps during which the rate rises
WITHOUT_BATCHNORM = 0.1  # networks without BatchNorm learn at this fraction of the rate of others


def n_epochs(n_images: int) -> int:
    """Return the number of epochs that shows about `IMAGES_SEEN` images, within `EPOCHS`."""
    fewest, most = EPOCHS
    return min(max(round(IMAGES_SEEN / n_images), fewest), most)


def rate_factor(n_steps: int) -> Callable[[int], float]:
    """Return the schedule of the learning rate, as a function of the step.

    The function gives a fraction of the peak rate: it rises linearly over the first `WARM_UP` of
    the steps, then follows half a cosine down to 0.
    """
    n_warm_up = max(1, round(WARM_UP * n_steps))

    def factor(step: int) -> float:
        if step < n_warm_up:
            return (step + 1) / n_warm_up
        progress = (step - n_warm_up) / max(1, n_steps - n_warm_up)
        return 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def rate_multiplier(classifier: Classifier) -> float:
    """Return what the learning rate is multiplied by for this network.

    BatchNorm cancels any change of the scale of the weights before it, and with it most of the
    harm of a rate that is too high. Networks without it (AlexNet, VGG, SqueezeNet) or with
    LayerNorm in its place (ConvNeXt, Swin, ViT) need a lower rate.
    """
    has_batchnorm = any(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())
    return 1.0 if has_batchnorm else WITHOUT_BATCHNORM


def view_size(classifier: Classifier) -> int:
    """Return the side in px of the views to train on.

    It is `VIEW` of the side of the image, a multiple of 32 where possible (networks halve that
    without remainder), and no less than the backbone takes.
    """
    side = classifier.image_size * VIEW
    rounded = round(side / 32) * 32 if side >= 32 else round(side)
    return max(rounded, backbones.smallest_image_px(classifier.backbone))


def class_weights(labels: np.ndarray, n_classes: int) -> Tensor:
    """Return the weight of an image of class c in the loss, proportional to 1 / √n_c.

    The mean weight of an image is 1. So a class with fewer images counts less than the others, but
    not as much less as it has fewer images. With 1 / n_c all classes would count the same; then the
    few images of a small class cost the others accuracy (`benchmarks/class_sizes.py`). Mahajan et
    al. 2018 (arXiv 1805.00932), §2.2, resample classes by the same rule.

    Args:
        labels: (N,) int, the class index of each training image.
        n_classes: C.

    Returns:
        (C,) float32.
    """
    roots = np.sqrt(np.bincount(labels, minlength=n_classes).clip(min=1))
    return torch.from_numpy(len(labels) / (roots.sum() * roots)).float()
