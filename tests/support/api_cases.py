"""What people give to the Python API: what has maps, and what is refused with which line.

The tables of docs/api.md have one row for each entry.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from tests.support.small_networks import CLASSES


class Plain(nn.Module):
    """Two convolutions, then pooling and a linear layer or an MLP. `wrap` runs the first part."""

    def __init__(self, wrap=None, channels=3, mlp=False, classes=CLASSES):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 8, 3, 4, 1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU())
        self.mlp = nn.Sequential(nn.Linear(6, 5), nn.Tanh()) if mlp else nn.Identity()
        self.fc = nn.Linear(5 if mlp else 6, classes)
        self.wrap = wrap

    def backbone(self, x):
        return self.last(self.stem(x)).mean((2, 3))

    def forward(self, x):
        pooled = self.wrap(self.backbone, x) if self.wrap else self.backbone(x)
        return self.fc(self.mlp(pooled))


def plain(change: Callable[[Plain], Any] = lambda network: None, **options) -> Plain:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = Plain(**options).eval()
        change(network)
    return network


def x(channels: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, channels, 32, 48, generator=generator).to(dtype)


@dataclass
class Works:
    """A network that has maps.

    Attributes:
        network: of the user.
        plain: the same function as a network without anything special, in float64.
        x: images.
        layer: as the user gives it.
        tolerance: of the maps, as a fraction of the largest value.
    """

    network: nn.Module
    plain: nn.Module = field(default_factory=lambda: plain().double())
    x: Tensor = field(default_factory=x)
    layer: Any = "last"
    tolerance: float = 1e-5


def _no_grad(backbone, x):
    with torch.no_grad():
        return backbone(x)


def _inference_mode(backbone, x):
    with torch.inference_mode():
        return backbone(x)


def _autocast(backbone, x):
    with torch.autocast("cpu", torch.bfloat16):
        return backbone(x).float()


def _same(change: Callable[[Plain], Any]) -> Works:
    """The last layer of both is changed in the same way."""
    return Works(plain(change), plain(change).double(), tolerance=1e-4)


def _module() -> Works:
    network = plain()
    return Works(network, layer=network.last)


def _listed() -> Works:
    network = plain()
    return Works(network, layer=[network.last])


def _compiled_in_place() -> Works:
    network = plain()
    network.compile(backend="eager")
    return Works(network)


class Part(nn.Module):
    """A network in a network."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x)


WORKS: dict[str, Callable[[], Works]] = {
    "a module, or a list with one, as the layer": _module,
    "a list with the name of the layer": lambda: Works(plain(), layer=["last"]),
    "a list with the module": _listed,
    "`weight_norm` of the last layer": lambda: _same(lambda n: parametrizations.weight_norm(n.fc)),
    "the older `torch.nn.utils.weight_norm`": lambda: _same(lambda n: nn.utils.weight_norm(n.fc)),
    "`spectral_norm`": lambda: _same(lambda n: parametrizations.spectral_norm(n.fc).eval()),
    "`orthogonal`": lambda: _same(lambda n: parametrizations.orthogonal(n.fc)),
    "`prune` of the last layer": lambda: _same(
        lambda n: prune.l1_unstructured(n.fc, "weight", 0.5)
    ),
    "`.double()`": lambda: Works(plain().double(), x=x(dtype=torch.float64), tolerance=1e-12),
    "`.half()`": lambda: Works(plain().half(), x=x(dtype=torch.float16), tolerance=0.01),
    "`.bfloat16()`": lambda: Works(plain().bfloat16(), x=x(dtype=torch.bfloat16), tolerance=0.06),
    "`autocast` in `forward`": lambda: Works(plain(wrap=_autocast), tolerance=0.06),
    "`no_grad` around the backbone": lambda: Works(
        plain(wrap=_no_grad, mlp=True), plain(mlp=True).double()
    ),
    "a checkpoint, not reentrant, around the backbone": lambda: Works(
        plain(wrap=lambda b, x: checkpoint(b, x, use_reentrant=False), mlp=True),
        plain(mlp=True).double(),
    ),
    "`inference_mode` around the backbone, if one linear layer follows": lambda: Works(
        plain(wrap=_inference_mode)
    ),
    "`torch.compile`": lambda: Works(torch.compile(plain(), backend="eager")),
    "`torch.compile`, with its name of the layer": lambda: Works(
        torch.compile(plain(), backend="eager"), layer="_orig_mod.last"
    ),
    "`torch.compile` of a part": lambda: Works(
        Part(torch.compile(plain(), backend="eager")),
        Part(plain()).double(),
        layer="part.last",
    ),
    "`network.compile()`": _compiled_in_place,
    "`DataParallel`": lambda: Works(nn.DataParallel(plain())),
    "images of 1 channel": lambda: Works(
        plain(channels=1), plain(channels=1).double(), x=x(channels=1)
    ),
    "images of 5 channels": lambda: Works(
        plain(channels=5), plain(channels=5).double(), x=x(channels=5)
    ),
    "a single logit": lambda: Works(plain(classes=1), plain(classes=1).double()),
}


def _dropout(backbone, x):
    return F.dropout(backbone(x))


def _built_in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return plain(mlp=True)


def _mixing(network: Plain) -> None:
    network.last.append(nn.BatchNorm2d(6, track_running_stats=False))


class ColumnsFirst(nn.Module):
    """A network of one image size whose layer gives (N, w, h, K)."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.position = nn.Parameter(torch.randn(6, 6, 8))
        self.block, self.head = nn.ReLU(), nn.Linear(8, CLASSES)

    def forward(self, x):
        A = self.patches(x).transpose(1, 3) + self.position
        return self.head(self.block(A).mean((1, 2)))


# What is refused → (the network, the images, the layer), and the line that says why.
REFUSED: dict[str, tuple[Callable[[], tuple], str]] = {
    "an array": (
        lambda: (plain(), x().numpy(), None),
        "x: a numpy.ndarray given; give a tensor (N, 3, H, W), as `torch.from_numpy` makes it of "
        "an array",
    ),
    "no image": (
        lambda: (plain(), x()[:0], None),
        "x: (0, 3, 32, 48) of float32 given; give floats (N, 3, H, W), with at least one image",
    ),
    "integers": (
        lambda: (plain(), x().byte(), None),
        "x: (2, 3, 32, 48) of uint8 given; give floats (N, 3, H, W), with at least one image",
    ),
    "NaN or infinity": (
        lambda: (plain(), torch.stack([x()[0], x()[1] / 0]), None),
        "x: 1 of 2 images hold NaN or infinity, the first is x[1]; leave them out",
    ),
    "x of another type than the network": (
        lambda: (plain(), x(dtype=torch.float64), None),
        "network: does not run with x, (1, 3, 32, 48) of torch.float64 on cpu: ",
    ),
    "a layer that does not exist": (
        lambda: (plain(), x(), "lats"),
        "layer: lats is no layer of the network. Did you mean last? Give a name in "
        "`named_modules()` or the module itself",
    ),
    "a module of another network": (
        lambda: (plain(), x(), plain().last),
        "layer: a Sequential that is no layer of the network. Give a name in `named_modules()` or "
        "the module itself",
    ),
    "two layers": (
        lambda: (plain(), x(), ["stem", "last"]),
        "layer: a list given; give one layer, a name in `named_modules()` or the module itself",
    ),
    "a layout that does not follow from anything": (
        lambda: (ColumnsFirst().eval(), torch.rand(1, 3, 24, 24), "block"),
        "layer: block gives (1, 6, 6, 8) for an image of 24 × 24 px, which is neither a map "
        "(N, K, h, w) or (N, h, w, K) of the image nor the tokens of its patches (N, T, K); take "
        "another layer, or describe its layout with `grid`",
    ),
    "a head that is random in evaluation mode": (
        lambda: (plain(wrap=_dropout), x(), None),
        "network: gives other logits for the same image each time, in evaluation mode, too; switch "
        "off what is random in its `forward`, as `F.dropout(x)` without `self.training`",
    ),
    "a head that mixes the images of a batch": (
        lambda: (plain(_mixing), x(), "stem"),
        "network: gives other logits for an image when there are others in the batch; let "
        "BatchNorm track running statistics, or replace what else mixes the images",
    ),
    "`detach` after the layer": (
        lambda: (plain(wrap=lambda b, x: b(x).detach(), mlp=True), x(), None),
        "layer: no gradient of the logits reaches last; take a layer after what stops it, or "
        "remove that (`detach`, `inference_mode`, a reentrant checkpoint, parameters that were "
        "created in inference mode)",
    ),
    "`inference_mode` around the backbone, before an MLP": (
        lambda: (plain(wrap=_inference_mode, mlp=True), x(), None),
        "layer: no gradient of the logits reaches last; ",
    ),
    "a network that was built in `inference_mode`": (
        lambda: (_built_in_inference_mode(), x(), None),
        "layer: no gradient of the logits reaches last; ",
    ),
    "a scripted or traced network": (
        lambda: (torch.jit.trace(plain(), x()), x(), None),
        "network: was scripted or traced, so its layers cannot be intercepted; give the module "
        "that it was made of",
    ),
    "a quantised network": (
        lambda: (
            torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear}, torch.qint8),
            x(),
            None,
        ),
        "network: its layer fc is quantised, so it has no gradients; give the network as it was "
        "before",
    ),
    "something that is no network": (
        lambda: (len, x(), None),
        "network: a builtin_function_or_method given; give a `torch.nn.Module` that computes "
        "logits (N, C) of images",
    ),
}
