"""The networks that can be fine-tuned: one table, one entry each.

An entry says how torchvision's network of that name comes apart into

* the body, pictures (N, 3, S, S) → activations A (N, K, h, w), ending in the last activation
  function (or pooling of nothing), so A is what class activation maps are made of;
* the native head, A → logits (N, C): torchvision's own pooling, hidden layers and dropout.

Both keep the submodule names of torchvision, so their parameters are called what they are called
in torchvision's weight files, and head(body(x)) runs the very operations of torchvision's forward.

In VGG and AlexNet the last max pooling belongs to the native head: A is the last ReLU, with twice
the resolution. A head made of global average pooling then averages that ReLU directly, as in the
CAM paper, which removes what follows the last convolution for a finer map (Zhou et al. 2015, §3).
In SqueezeNet the last convolution is the classifier and belongs to the head; A is what it reads.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torchvision
from torch import nn
from torchvision.models import WeightsEnum

Parts = tuple[nn.Sequential, nn.Sequential]


@dataclass(frozen=True)
class Backbone:
    """How one family of torchvision networks comes apart.

    split: network → (body, native head), both made of the network's own modules.
    last: torchvision's name of the classifier's last layer, the one that depends on the classes.
    """

    split: Callable[[nn.Module], Parts]
    last: str


def _resnet(network: Any) -> Parts:
    body = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    head = {"avgpool": network.avgpool, "flatten": nn.Flatten(), "fc": network.fc}
    return _named({name: getattr(network, name) for name in body}), _named(head)


def _mobilenet(network: Any) -> Parts:
    head = {
        "avgpool": nn.AdaptiveAvgPool2d((1, 1)),
        "flatten": nn.Flatten(),
        "classifier": network.classifier,
    }
    return _named({"features": network.features}), _named(head)


def _squeezenet(network: Any) -> Parts:
    head = {"classifier": network.classifier, "flatten": nn.Flatten()}
    return _named({"features": network.features}), _named(head)


def _vgg(network: Any) -> Parts:
    head = {
        "maxpool": network.features[-1],
        "avgpool": network.avgpool,
        "flatten": nn.Flatten(),
        "classifier": network.classifier,
    }
    return _named({"features": network.features[:-1]}), _named(head)


def _named(modules: dict[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


BACKBONES = {
    "mobilenet_v3_small": Backbone(_mobilenet, last="classifier.3"),
    "mobilenet_v2": Backbone(_mobilenet, last="classifier.1"),
    "resnet18": Backbone(_resnet, last="fc"),
    "resnet50": Backbone(_resnet, last="fc"),
    "vgg16": Backbone(_vgg, last="classifier.6"),
    "squeezenet1_1": Backbone(_squeezenet, last="classifier.1"),
    "alexnet": Backbone(_vgg, last="classifier.6"),
}


def split(backbone: str, n_classes: int) -> Parts:
    """Build torchvision's network with fresh weights for `n_classes`; return (body, native head).

    BatchNorm gets momentum 0.1 everywhere. torchvision's mobilenet_v3 has 0.01, with which the
    running statistics do not arrive within the few hundred steps of a small fine-tuning, and
    evaluation stays at chance while training looks fine.
    """
    network = torchvision.models.get_model(backbone, weights=None, num_classes=n_classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return BACKBONES[backbone].split(network)


def imagenet_weights(backbone: str) -> WeightsEnum:
    """torchvision's official ImageNet weights: version 1 of each, which all backbones have.

    Version 2, where there is one, gains on ImageNet by label smoothing and other regularisation,
    which makes features less useful to a linear classifier (Kornblith et al. 2019, arXiv
    1805.08974).
    """
    return torchvision.models.get_model_weights(backbone)["IMAGENET1K_V1"]


def smallest_picture(backbone: str) -> int:
    """The side in px of the smallest picture that the backbone takes."""
    return max(imagenet_weights(backbone).meta["min_size"])
