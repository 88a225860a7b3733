"""Building a backbone, an image classifier of torchvision, in two halves.

`families` has the table of backbones. An entry names the function here that splits the network.

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
from typing import Any, cast

import torch
from torch import Tensor, nn

from pokecam.networks.families import BACKBONES
from pokecam.networks.late_dynamo import late_dynamo

with late_dynamo():
    import torchvision
    from torchvision.models import WeightsEnum

Halves = tuple[nn.Module, nn.Module]  # body, native head


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


# The functions that `Family.split` and `Family.pooled_body` name.
SPLITS: dict[str, Callable[[Any], Halves]] = {
    "convnext": _convnext,
    "densenet": _densenet,
    "features": _features,
    "inception": _inception,
    "maxvit": _maxvit,
    "mnasnet": _mnasnet,
    "regnet": _regnet,
    "resnet": _resnet,
    "shufflenet": _shufflenet,
    "squeezenet": _squeezenet,
    "swin": _swin,
    "vgg": _vgg,
    "vit": _vit,
}
POOLED_BODIES: dict[str, Callable[[Any], nn.Module]] = {"vit": _pooled_vit}


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
    body, head = SPLITS[family.split](network)
    if pooled and family.pooled_body is not None:
        body = POOLED_BODIES[family.pooled_body](network)
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
