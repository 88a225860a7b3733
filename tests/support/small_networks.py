"""Small random networks in every layout of activations, which they know themselves."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CLASSES = 4
LAYOUTS = ("first", "last", "tokens", "tokens last")
HEADS = ("linear", "mlp", "one", "attention")


@dataclass(frozen=True)
class Shape:
    """What a network is like.

    Attributes:
        layout: (N, K, h, w), (N, h, w, K), (N, T, K) or (N, K, T).
        size: h and w, for the image that the network is meant for.
        channels: K.
        patch: stride in px.
        extra: tokens that are not patches.
        extra_first: whether they stand before the patches, or after them.
        one_size: whether the network takes images of one size only.
        head: an entry of `HEADS`.
    """

    layout: str
    size: tuple[int, int]
    channels: int
    patch: int = 4
    extra: int = 0
    extra_first: bool = True
    one_size: bool = False
    head: str = "linear"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.size[0] * self.patch, self.size[1] * self.patch)


class SmallNetwork(nn.Module):
    """Patches, a layer `block` whose output has the layout, and a head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        K = shape.channels
        self.patches = nn.Conv2d(3, K, shape.patch, shape.patch)
        self.position = nn.Parameter(torch.randn(1, K, *shape.size)) if shape.one_size else None
        self.extra = nn.Parameter(torch.randn(1, K, shape.extra))
        self.embedding = nn.Identity()
        self.block = _Block(K, shape.layout)
        n_classes = 1 if shape.head == "one" else CLASSES
        self.mlp = nn.Sequential(nn.Linear(K, 5), nn.Tanh(), nn.Linear(5, n_classes))
        self.linear = nn.Linear(K, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        A = self.patches(x)
        if self.position is not None:
            A = A + self.position
        if self.shape.layout.startswith("tokens"):
            extra = self.extra.expand(len(x), -1, -1)
            parts = [extra, A.flatten(2)] if self.shape.extra_first else [A.flatten(2), extra]
            A = torch.cat(parts, dim=2)
        A = self.block(self.embedding(self.arrange(A)))
        values = self.read_patches(A)
        pooled = values.mean(-1)
        if self.shape.head == "attention":  # what is read depends on the other patches
            weights = values.mean(1, keepdim=True).softmax(-1)
            return self.linear((values * weights).sum(-1))
        return self.mlp(pooled) if self.shape.head == "mlp" else self.linear(pooled)

    def arrange(self, A: Tensor) -> Tensor:
        """Bring (N, K, …) into the layout."""
        return A if self.shape.layout in ("first", "tokens last") else A.movedim(1, -1)

    def read_patches(self, A: Tensor) -> Tensor:
        """Return the patches (N, K, n) in the output of `block`, of an image of any size."""
        A = A if self.shape.layout in ("first", "tokens last") else A.movedim(-1, 1)
        values, n = A.flatten(2), self.shape.extra
        return values[..., n:] if self.shape.extra_first else values[..., : values.shape[-1] - n]

    def grid(self, A: Tensor) -> Tensor:
        """Return the output of `block` as (N, K, h, w), as the test knows it."""
        return self.read_patches(A).unflatten(-1, self.shape.size)


class _Block(nn.Module):
    """A product over the channels and ReLU, in any layout."""

    def __init__(self, K: int, layout: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(K, K) / math.sqrt(K))
        self.channels_last = layout in ("last", "tokens")

    def forward(self, A: Tensor) -> Tensor:
        A = A if self.channels_last else A.movedim(1, -1)
        A = (A @ self.weight).relu()
        return A if self.channels_last else A.movedim(-1, 1)


def build(shape: Shape, seed: int = 0) -> SmallNetwork:
    """Return the network with random weights, in float64 and evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SmallNetwork(shape).double().eval()


def images(shape: Shape, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, *shape.image_shape, generator=generator, dtype=torch.float64)


def whole_graph_maps(
    network: nn.Module, layer: str, x: Tensor, grid: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Compute raw maps by a hook on the whole network and autograd, image by image and class by
    class: method → (N, C, h, w)."""
    maps: dict[str, list[Tensor]] = {"grad_cam": [], "hires_cam": [], "layer_cam": []}
    for image in x.split(1):
        leaves: list[Tensor] = []

        def replace(_module, _inputs, output, leaves=leaves):
            leaves.append(output.detach().requires_grad_())
            return leaves[0].clone()

        hook = network.get_submodule(layer).register_forward_hook(replace)
        with torch.enable_grad():
            logits = network(image)
        hook.remove()
        A = grid(leaves[0].detach())
        for c in range(logits.shape[1]):
            (gradient,) = torch.autograd.grad(logits[0, c], leaves[0], retain_graph=True)
            g = grid(gradient)
            maps["grad_cam"].append((g.mean((2, 3), keepdim=True) * A).sum(1))
            maps["hires_cam"].append((g * A).sum(1))
            maps["layer_cam"].append((g.relu() * A).sum(1))
    return {name: torch.cat(rows).unflatten(0, (len(x), -1)) for name, rows in maps.items()}
