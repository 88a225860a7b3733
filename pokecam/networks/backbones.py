"""The networks that can be fine-tuned: every image classifier of torchvision, a family at a time.

A family says how torchvision's networks of these names come apart into

* the body, images (N, 3, S, S) → what the head reads: activations A (N, K, h, w), ending in the
  last activation function (or pooling of nothing), so A is what class activation maps are made of;
  in a vision transformer tokens (N, T, K), which `grid` lays out as A;
* the native head, → logits (N, C): torchvision's own pooling, hidden layers and dropout.

Both keep the submodule names of torchvision, so their parameters are called what they are called
in torchvision's weight files, and head(body(x)) runs the very operations of torchvision's forward.

In VGG and AlexNet the last max pooling belongs to the native head: A is the last ReLU, with twice
the resolution. A head made of global average pooling then averages that ReLU directly, as in the
CAM paper, which removes what follows the last convolution for a finer map (Zhou et al. 2015, §3).
In SqueezeNet the last convolution is the classifier and belongs to the head; A is what it reads.
A vision transformer's native head reads the class token alone, and after the last block the other
tokens have no influence any more: there A is what goes into the last block. Under average pooling
A is what comes out of it.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum

Parts = tuple[nn.Module, nn.Module]


@dataclass(frozen=True)
class Family:
    """How a family of torchvision's networks comes apart.

    names: of its builders.
    split: network → (body, native head), both made of the network's own modules.
    last: torchvision's name of the classifier's last layer, the one that depends on the classes.
    options: what the builders are called with beside the number of classes.
    pooled: network → body for a head of average pooling, where it is not that of `split`.
    aside: first names of tensors in weight files that belong to further classifiers, used in no
        fine-tuning here.
    one_size: images must have the side that the weights were made for.
    tokens: the body gives tokens (N, T, K), the class token first.
    one_layer: only what the body ends in is laid out as a grid (N, K, h, w).
    computes: its builders compute with tensors, and so cannot build without content ("meta").
    """

    names: tuple[str, ...]
    split: Callable[[Any], Parts]
    last: str
    options: dict[str, Any] = field(default_factory=dict)
    pooled: Callable[[Any], nn.Module] | None = None
    aside: tuple[str, ...] = ()
    one_size: bool = False
    tokens: bool = False
    one_layer: bool = False
    computes: bool = False


class GlobalAverage(nn.Module):
    """A (N, K, h, w) → its mean over h and w (N, K). Unlike adaptive pooling, the gradient is
    deterministic on every device."""

    def forward(self, A: Tensor) -> Tensor:
        return A.mean(dim=(2, 3))


class Apply(nn.Module):
    """A function as a module, where torchvision's forward calls one between its modules."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Tokens(nn.Module):
    """A vision transformer without its head: images → tokens (N, T, K), the class token first.

    Modules and parameters have the names that they have in torchvision's network.
    whole: with the last block and the normalisation after it, or without.
    """

    def __init__(self, network: Any, *, whole: bool) -> None:
        super().__init__()
        self.conv_proj = network.conv_proj
        self.class_token = network.class_token
        self.patches = network._process_input  # (N, 3, S, S) → (N, T − 1, K)
        self.encoder = _part_of_encoder(network.encoder, slice(None if whole else -1), norm=whole)
        self.encoder.register_parameter("pos_embedding", network.encoder.pos_embedding)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), self.patches(x)], dim=1)
        return self.encoder(tokens + cast(Tensor, self.encoder.pos_embedding))


def _part_of_encoder(encoder: Any, blocks: slice, *, norm: bool) -> nn.Sequential:
    chosen = dict(list(encoder.layers.named_children())[blocks])
    dropout = {"dropout": encoder.dropout} if blocks.start is None else {}
    return _named({**dropout, "layers": _named(chosen)} | ({"ln": encoder.ln} if norm else {}))


def _first(tokens: Tensor) -> Tensor:
    return tokens[:, 0]


def _named(modules: dict[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _averaged(network: Any, *body: str, **between: nn.Module) -> Parts:
    """The body is `body`, some of the network's modules in a row; the head averages and ends in
    the network's `fc`."""
    dropout = {"dropout": network.dropout} if hasattr(network, "dropout") else {}
    head = {"avgpool": network.avgpool, "flatten": nn.Flatten(), **dropout, "fc": network.fc}
    return _named(between | {name: getattr(network, name) for name in body}), _named(head)


def _resnet(network: Any) -> Parts:
    layers = ("layer1", "layer2", "layer3", "layer4")
    return _averaged(network, "conv1", "bn1", "relu", "maxpool", *layers)


def _regnet(network: Any) -> Parts:
    return _averaged(network, "stem", "trunk_output")


def _inception(network: Any) -> Parts:
    """GoogLeNet and Inception: all children but the last, which are pooling, dropout and fc."""
    body = [name for name, _ in network.named_children() if name not in _INCEPTION_HEAD]
    return _averaged(network, *body, transform=Apply(network._transform_input))


_INCEPTION_HEAD = ("avgpool", "dropout", "fc")


def _features(network: Any) -> Parts:
    head = {
        "avgpool": nn.AdaptiveAvgPool2d((1, 1)),
        "flatten": nn.Flatten(),
        "classifier": network.classifier,
    }
    return _named({"features": network.features}), _named(head)


def _densenet(network: Any) -> Parts:
    body, head = _features(network)
    body.relu = nn.ReLU()
    return body, head


def _mnasnet(network: Any) -> Parts:
    head = {"avgpool": GlobalAverage(), "classifier": network.classifier}
    return _named({"layers": network.layers}), _named(head)


def _shufflenet(network: Any) -> Parts:
    names = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
    head = {"avgpool": GlobalAverage(), "fc": network.fc}
    return _named({name: getattr(network, name) for name in names}), _named(head)


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


def _convnext(network: Any) -> Parts:
    head = {"avgpool": network.avgpool, "classifier": network.classifier}
    return _named({"features": network.features}), _named(head)


def _maxvit(network: Any) -> Parts:
    body = {"stem": network.stem, "blocks": nn.Sequential(*network.blocks)}
    return _named(body), _named({"classifier": network.classifier})


def _swin(network: Any) -> Parts:
    body = {name: getattr(network, name) for name in ("features", "norm", "permute")}
    head = {name: getattr(network, name) for name in ("avgpool", "flatten", "head")}
    return _named(body), _named(head)


def _vit(network: Any) -> Parts:
    head = {
        "encoder": _part_of_encoder(network.encoder, slice(-1, None), norm=True),
        "first": Apply(_first),
        "heads": network.heads,
    }
    return Tokens(network, whole=False), _named(head)


def _whole_vit(network: Any) -> nn.Module:
    return Tokens(network, whole=True)


FAMILIES = (
    Family(("mobilenet_v3_small", "mobilenet_v3_large"), _features, last="classifier.3"),
    Family(("mobilenet_v2",), _features, last="classifier.1"),
    Family(
        (
            *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
            *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
            *("wide_resnet50_2", "wide_resnet101_2"),
        ),
        _resnet,
        last="fc",
    ),
    Family(
        tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
        _vgg,
        last="classifier.6",
    ),
    Family(("alexnet",), _vgg, last="classifier.6"),
    Family(("squeezenet1_0", "squeezenet1_1"), _squeezenet, last="classifier.1"),
    Family(
        ("densenet121", "densenet161", "densenet169", "densenet201"), _densenet, last="classifier"
    ),
    Family(
        ("googlenet",),
        _inception,
        last="fc",
        # The official weights were made for images in [-1, 1]; the network transforms them.
        options={"transform_input": True, "aux_logits": False, "init_weights": False},
        aside=("aux1", "aux2"),
    ),
    Family(
        ("inception_v3",),
        _inception,
        last="fc",
        options={"transform_input": True, "aux_logits": False, "init_weights": False},
        aside=("AuxLogits",),
    ),
    Family(
        tuple(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
        _shufflenet,
        last="fc",
    ),
    Family(
        tuple(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")),
        _mnasnet,
        last="classifier.1",
    ),
    Family(
        (
            *(f"efficientnet_b{size}" for size in range(8)),
            *(f"efficientnet_v2_{size}" for size in "sml"),
        ),
        _features,
        last="classifier.1",
    ),
    Family(
        (
            *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf")),
            *("regnet_y_32gf", "regnet_y_128gf"),
            *(f"regnet_x_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf")),
            "regnet_x_32gf",
        ),
        _regnet,
        last="fc",
        computes=True,
    ),
    Family(
        tuple(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
        _convnext,
        last="classifier.2",
    ),
    Family(("maxvit_t",), _maxvit, last="classifier.5", one_size=True),
    Family(
        tuple(f"swin_{version}{size}" for version in ("", "v2_") for size in "tsb"),
        _swin,
        last="head",
        one_layer=True,
    ),
    Family(
        ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"),
        _vit,
        last="heads.head",
        pooled=_whole_vit,
        one_size=True,
        tokens=True,
        one_layer=True,
    ),
)

BACKBONES = {name: family for family in FAMILIES for name in family.names}


def split(backbone: str, n_classes: int, *, pooled: bool = False) -> tuple[nn.Module, nn.Module]:
    """Build torchvision's network with fresh weights for `n_classes`; return (body, native head).

    pooled: the body is for a head of average pooling, which in a vision transformer is more of
        the network; the head is then of no use.

    BatchNorm gets momentum 0.1 everywhere. torchvision's mobilenet_v3 has 0.01, with which the
    running statistics do not arrive within the few hundred steps of a small fine-tuning, and
    evaluation stays at chance while training looks fine.
    """
    family = BACKBONES[backbone]
    with torch.device("cpu") if family.computes else nullcontext():
        network = torchvision.models.get_model(
            backbone, weights=None, num_classes=n_classes, **family.options
        )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    body, head = family.split(network)
    if pooled and family.pooled is not None:
        body = family.pooled(network)
    return body, head


def grid(backbone: str, features: Tensor) -> Tensor:
    """What the body gives → activations A (…, K, h, w): tokens (…, T, K) without the class token
    in rows of a square; anything else as it is."""
    return square_of(features, before=1) if BACKBONES[backbone].tokens else features


def square_of(tokens: Tensor, before: int) -> Tensor:
    """Tokens (…, T, K) → activations A (…, K, h, h), in rows, without the `before` tokens that
    come before the image's."""
    patches = tokens[..., before:, :].transpose(-1, -2)  # (…, K, h · h)
    return patches.unflatten(-1, (math.isqrt(patches.shape[-1]), -1))


def steps(module: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """The modules of a body that run one after another, with their names: a plain `Sequential` is
    taken apart, its subclasses, which torchvision uses for blocks, are not. Of a vision
    transformer, the steps of its encoder."""
    if isinstance(module, Tokens):
        return steps(module.encoder, "encoder")
    if type(module) is not nn.Sequential:
        return [(path, module)]
    return [
        step
        for child_name, child in module.named_children()
        for step in steps(child, f"{path}.{child_name}" if path else child_name)
    ]


def imagenet_weights(backbone: str) -> WeightsEnum:
    """torchvision's official ImageNet weights: version 1 of each, or where there is none (the
    largest two) the linear classifier on SWAG's features.

    Version 2, where there is one, gains on ImageNet by label smoothing and other regularisation,
    which makes features less useful to a linear classifier (Kornblith et al. 2019, arXiv
    1805.08974).
    """
    weights = torchvision.models.get_model_weights(backbone)
    first, fallback = "IMAGENET1K_V1", "IMAGENET1K_SWAG_LINEAR_V1"
    return weights[first if first in weights.__members__ else fallback]


def smallest_image_px(backbone: str) -> int:
    """The side in px of the smallest image that the backbone takes."""
    return max(imagenet_weights(backbone).meta["min_size"])
