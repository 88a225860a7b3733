"""The table of backbones: every image classifier of torchvision, and how it splits in two.

A `Family` says how networks of torchvision are split into two halves.

* The body maps images (N, 3, S, S) to features, which the head reads. The features are the
  activations A (N, K, h, w) that class activation maps are made of; in most networks they are the
  output of the last activation function. In a vision transformer the features are tokens
  (N, T, K), which `grid` lays out as A.
* The native head maps the features to logits (N, C). It is the pooling, the hidden layers and the
  dropout of torchvision.

Both keep the names that submodules have in torchvision, so the names of their parameters are
those of torchvision's weight files. head(body(x)) runs exactly the operations of torchvision's
forward.

Where the split lies is not obvious in three families.

* VGG and AlexNet: the last max pooling belongs to the native head, so A is the output of the last
  ReLU, with twice the resolution. The `gap` head averages that output directly. The CAM paper
  also removes what follows the last convolution to get a finer map (Zhou et al. 2015, §3).
* SqueezeNet: the last convolution computes the logits, so it belongs to the head. A is its input.
* Vision transformers: the native head reads only the class token, which no other token influences
  after the last block. A is therefore the input of the last block. For the `gap` head, which
  averages over tokens, A is the output of the last block.
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

Halves = tuple[nn.Module, nn.Module]  # body, native head


@dataclass(frozen=True)
class Family:
    """Networks of torchvision that are split in the same way.

    Attributes:
        names: the builders, by torchvision's names.
        split: network → (body, native head), both made of the modules of the network.
        last: torchvision's name of the last layer, which has one output for each class.
        options: arguments of the builders, beside the number of classes.
        pooled_body: network → body for the `gap` head, where it is not the body that `split`
            returns.
        auxiliary: the auxiliary classifiers, by the first part of the names of their tensors.
            Weight files hold them; fine-tuning does not use them.
        one_size: the network takes only images of the side that its weights were trained on.
        tokens: the features are tokens (N, T, K), the class token first.
        one_layer: only the output of the last layer of the body can be laid out as a grid
            (N, K, h, w).
        computes: the builders compute with the values of tensors, so they do not run on the
            "meta" device.
    """

    names: tuple[str, ...]
    split: Callable[[Any], Halves]
    last: str
    options: dict[str, Any] = field(default_factory=dict)
    pooled_body: Callable[[Any], nn.Module] | None = None
    auxiliary: tuple[str, ...] = ()
    one_size: bool = False
    tokens: bool = False
    one_layer: bool = False
    computes_when_built: bool = False


class GlobalAverage(nn.Module):
    """Global average pooling: A (N, K, h, w) → its mean over h and w (N, K).

    Its gradient is deterministic on every device, that of `nn.AdaptiveAvgPool2d` is not.
    """

    def forward(self, A: Tensor) -> Tensor:
        return A.mean(dim=(2, 3))


class Apply(nn.Module):
    """A function as a module, for functions that torchvision's forward calls between modules."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Tokens(nn.Module):
    """A vision transformer without its head: images → tokens (N, T, K), the class token first.

    Modules and parameters have the names that they have in torchvision's network.

    Args:
        network: torchvision's network, whose modules are used.
        to_the_end: whether the last block and the normalisation after it are included.
    """

    def __init__(self, network: Any, *, to_the_end: bool) -> None:
        super().__init__()
        self.conv_proj = network.conv_proj
        self.class_token = network.class_token
        self.patches = network._process_input  # (N, 3, S, S) → (N, T − 1, K)
        blocks = slice(None if to_the_end else -1)
        self.encoder = _cut_encoder(network.encoder, blocks, with_norm=to_the_end)
        self.encoder.register_parameter("pos_embedding", network.encoder.pos_embedding)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), self.patches(x)], dim=1)
        return self.encoder(tokens + cast(Tensor, self.encoder.pos_embedding))


def _cut_encoder(encoder: Any, blocks: slice, *, with_norm: bool) -> nn.Sequential:
    """Return some blocks of an encoder, behind its dropout if the first block is among them."""
    selected = dict(list(encoder.layers.named_children())[blocks])
    dropout = {"dropout": encoder.dropout} if blocks.start is None else {}
    norm = {"ln": encoder.ln} if with_norm else {}
    return sequential({**dropout, "layers": sequential(selected), **norm})


def _class_token(tokens: Tensor) -> Tensor:
    return tokens[:, 0]  # (N, T, K) → (N, K)


def sequential(modules: dict[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _split_before_pooling(network: Any, *body: str, **first: nn.Module) -> Halves:
    """Split a network whose head is `avgpool`, dropout if there is any, and `fc`.

    The body is the module `first`, if it is given, and the modules of the network named `body`.
    """
    dropout = {"dropout": network.dropout} if hasattr(network, "dropout") else {}
    head = {"avgpool": network.avgpool, "flatten": nn.Flatten(), **dropout, "fc": network.fc}
    return sequential(first | {name: getattr(network, name) for name in body}), sequential(head)


def _resnet(network: Any) -> Halves:
    layers = ("layer1", "layer2", "layer3", "layer4")
    return _split_before_pooling(network, "conv1", "bn1", "relu", "maxpool", *layers)


def _regnet(network: Any) -> Halves:
    return _split_before_pooling(network, "stem", "trunk_output")


_INCEPTION_HEAD = ("avgpool", "dropout", "fc")


def _inception(network: Any) -> Halves:
    """Split GoogLeNet or Inception v3, which define their modules in the order they run in."""
    body = [name for name, _ in network.named_children() if name not in _INCEPTION_HEAD]
    return _split_before_pooling(network, *body, transform=Apply(network._transform_input))


def _features(network: Any) -> Halves:
    head = {
        "avgpool": nn.AdaptiveAvgPool2d((1, 1)),
        "flatten": nn.Flatten(),
        "classifier": network.classifier,
    }
    return sequential({"features": network.features}), sequential(head)


def _densenet(network: Any) -> Halves:
    body, head = _features(network)
    body.relu = nn.ReLU()
    return body, head


def _mnasnet(network: Any) -> Halves:
    head = {"avgpool": GlobalAverage(), "classifier": network.classifier}
    return sequential({"layers": network.layers}), sequential(head)


def _shufflenet(network: Any) -> Halves:
    names = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
    head = {"avgpool": GlobalAverage(), "fc": network.fc}
    return sequential({name: getattr(network, name) for name in names}), sequential(head)


def _squeezenet(network: Any) -> Halves:
    head = {"classifier": network.classifier, "flatten": nn.Flatten()}
    return sequential({"features": network.features}), sequential(head)


def _vgg(network: Any) -> Halves:
    head = {
        "maxpool": network.features[-1],
        "avgpool": network.avgpool,
        "flatten": nn.Flatten(),
        "classifier": network.classifier,
    }
    return sequential({"features": network.features[:-1]}), sequential(head)


def _convnext(network: Any) -> Halves:
    head = {"avgpool": network.avgpool, "classifier": network.classifier}
    return sequential({"features": network.features}), sequential(head)


def _maxvit(network: Any) -> Halves:
    body = {"stem": network.stem, "blocks": nn.Sequential(*network.blocks)}
    return sequential(body), sequential({"classifier": network.classifier})


def _swin(network: Any) -> Halves:
    body = {name: getattr(network, name) for name in ("features", "norm", "permute")}
    head = {name: getattr(network, name) for name in ("avgpool", "flatten", "head")}
    return sequential(body), sequential(head)


def _vit(network: Any) -> Halves:
    head = {
        "encoder": _cut_encoder(network.encoder, slice(-1, None), with_norm=True),
        "first": Apply(_class_token),
        "heads": network.heads,
    }
    return Tokens(network, to_the_end=False), sequential(head)


def _pooled_vit(network: Any) -> nn.Module:
    return Tokens(network, to_the_end=True)


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
        # The official weights were trained on images in [-1, 1]. The network converts its input.
        options={"transform_input": True, "aux_logits": False, "init_weights": False},
        auxiliary=("aux1", "aux2"),
    ),
    Family(
        ("inception_v3",),
        _inception,
        last="fc",
        options={"transform_input": True, "aux_logits": False, "init_weights": False},
        auxiliary=("AuxLogits",),
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
        computes_when_built=True,
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
        pooled_body=_pooled_vit,
        one_size=True,
        tokens=True,
        one_layer=True,
    ),
)

BACKBONES = {name: family for family in FAMILIES for name in family.names}


def split(backbone: str, n_classes: int, *, pooled: bool = False) -> tuple[nn.Module, nn.Module]:
    """Build a network of torchvision with random weights, in two halves.

    BatchNorm gets momentum 0.1 in every network. mobilenet_v3 has 0.01 in torchvision: within the
    few hundred steps of a small fine-tuning its running statistics do not converge then, and the
    accuracy stays at chance in evaluation while it looks good in training.

    Args:
        backbone: a name in `BACKBONES`.
        n_classes: C.
        pooled: whether the body is for the `gap` head. In a vision transformer this body includes
            the last block, so the native head cannot be used with it.

    Returns:
        The body and the native head.
    """
    family = BACKBONES[backbone]
    with torch.device("cpu") if family.computes_when_built else nullcontext():
        network = torchvision.models.get_model(
            backbone, weights=None, num_classes=n_classes, **family.options
        )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    body, head = family.split(network)
    if pooled and family.pooled_body is not None:
        body = family.pooled_body(network)
    return body, head


def grid(backbone: str, features: Tensor) -> Tensor:
    """Lay out features as activations.

    Args:
        backbone: a name in `BACKBONES`.
        features: (…, K, h, w), or tokens (…, T, K) of a vision transformer.

    Returns:
        (…, K, h, w): a square of the tokens without the class token; other features unchanged.
    """
    return square_of(features, n_class_tokens=1) if BACKBONES[backbone].tokens else features


def square_of(tokens: Tensor, n_class_tokens: int) -> Tensor:
    """Lay out tokens as a square, row by row.

    Args:
        tokens: (…, T, K).
        n_class_tokens: how many tokens precede those of the image. They are left out.

    Returns:
        (…, K, h, h) with h² = T − n_class_tokens.
    """
    patches = tokens[..., n_class_tokens:, :].transpose(-1, -2)  # (…, K, h · h)
    return patches.unflatten(-1, (math.isqrt(patches.shape[-1]), -1))


def steps(module: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """Return the modules of a body that run one after another, its main line.

    A `Sequential` is replaced by its children, but subclasses of it are not: torchvision uses them
    for blocks. In a vision transformer the main line is that of the encoder.

    Args:
        module: the body.
        path: the name of `module`, in front of all names.

    Returns:
        (name, module) of each, by torchvision's names.
    """
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
    """Return the official ImageNet weights of torchvision for a backbone.

    They are version 1. The two largest networks have no such version; theirs are a linear
    classifier on SWAG's features. Version 2 is better on ImageNet through label smoothing and
    other regularisation, which makes features less useful to a linear classifier (Kornblith et
    al. 2019, arXiv 1805.08974).
    """
    weights = torchvision.models.get_model_weights(backbone)
    first, fallback = "IMAGENET1K_V1", "IMAGENET1K_SWAG_LINEAR_V1"
    return weights[first if first in weights.__members__ else fallback]


def smallest_image_px(backbone: str) -> int:
    """Return the side in px of the smallest image that the backbone takes."""
    return max(imagenet_weights(backbone).meta["min_size"])
