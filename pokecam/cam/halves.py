"""The halves of a network that is divided at a layer, whatever its `forward` does.

The body is what runs up to the layer, and the head is what runs after it. To run the body, the
network is stopped when the layer has run. To run the head, the network runs on a single empty
image, and the output of the layer is replaced by the activations; so the part before the layer
costs one image, not a batch. The network is not changed, and no hook stays in it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pokecam.cam.outputs import find_logits
from pokecam.common.errors import InputError
from pokecam.networks.backbones import Apply, GlobalAverage

Grid = Callable[[Tensor], Tensor]

# Logits of the divided and of the whole network may differ by this fraction of the largest one,
# because rounding depends on the size of the batch.
_TOLERANCE = 1e-3

# Scale of the random activations on which a head is compared with a linear layer. It is far beyond
# the activations of an image, so that a head with any nonlinearity gives clearly different logits.
_PROBE_SCALE = 100.0


class _LayerReachedError(Exception):
    """The layer has run, and the rest of the network need not run."""


class Body(nn.Module):
    """The network up to a layer: images → output of the layer."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []

        def stop(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs.append(output)
            raise _LayerReachedError

        with _forward_hook(self.network, self.layer, stop):
            try:
                self.network(x)
            except _LayerReachedError:
                return outputs[0]
        raise InputError(
            f"layer: {self.layer} does not run when the network runs; take a layer that does"
        )


class Head(nn.Module):
    """The network after a layer: output of the layer → logits.

    Args:
        body: the network up to the layer.
        image_shape: (3, H, W).
        single_image: whether the network runs on one empty image, or on as many as there are
            activations.
    """

    def __init__(self, body: Body, image_shape: torch.Size, single_image: bool) -> None:
        super().__init__()
        # In a list, so that it does not become a submodule: the body owns the network already.
        self._bodies = [body]
        self._image_shape = image_shape
        self._single_image = single_image

    def forward(self, A: Tensor) -> Tensor:
        (body,) = self._bodies
        x = A.new_zeros(1 if self._single_image else len(A), *self._image_shape)
        needs_grad = torch.is_grad_enabled()

        def replace(_module: nn.Module, _inputs: Any, _output: Tensor) -> Tensor:
            torch.set_grad_enabled(needs_grad)
            return A.clone()  # the next layer may overwrite it

        with torch.no_grad(), _forward_hook(body.network, body.layer, replace):
            return find_logits(body.network(x))


def build_head(
    body: Body, grid: Grid, image_shape: torch.Size, A: Tensor, logits: Tensor
) -> nn.Module:
    """Build the head in the cheapest form that gives the logits of the network.

    Args:
        body: the network up to the layer.
        grid: output of the layer → (…, K, h, w).
        image_shape: (3, H, W).
        A: (1, …), the output of the layer for one image.
        logits: (1, C), the logits of that image.
    """
    large = _PROBE_SCALE * torch.randn(A.shape, generator=torch.Generator().manual_seed(0)).to(A)
    probes = torch.cat([A, large, torch.zeros_like(A)])
    for single_image in (True, False):
        head = Head(body, image_shape, single_image)
        try:
            probe_logits = head(probes)
        except RuntimeError:  # the network takes the number of images from its input
            continue
        if len(probe_logits) == len(probes) and _agree(probe_logits[:1], logits):
            return _linear_head(body.network, grid, probes, probe_logits) or head
    raise InputError(
        f"layer: what follows {body.layer} reads more than its output, as inside a block with a "
        "shortcut; take the block, or a layer after it"
    )


def _linear_head(
    network: nn.Module, grid: Grid, probes: Tensor, probe_logits: Tensor
) -> nn.Module | None:
    """Return average pooling and one of the network's linear layers, if that is the same head.

    Args:
        network: the whole network.
        grid: output of the layer → (…, K, h, w).
        probes: (3, …), activations: of an image, large random ones, and zeros.
        probe_logits: (3, C), what the head gives for them.
    """
    weight_shape = (probe_logits.shape[1], grid(probes).shape[1])
    if probe_logits[1].equal(probe_logits[2]):  # the head ignores its input
        return None
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and layer.weight.shape == weight_shape:
            layout = [] if grid is identity else [Apply(grid)]
            head = nn.Sequential(*layout, GlobalAverage(), _share_parameters(layer))
            logits = head(probes)
            if _agree(logits[0], probe_logits[0]) and _agree(
                logits[1] - logits[2], probe_logits[1] - probe_logits[2]
            ):
                return head
    return None


def _share_parameters(layer: nn.Linear) -> nn.Linear:
    """Return another layer with the same parameters.

    `torch.func.functional_call` cannot restore one module that stands in two positions.
    """
    copy = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    copy.weight, copy.bias = layer.weight, layer.bias
    return copy


def _agree(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= _TOLERANCE * b.abs().max())


@contextmanager
def _forward_hook(network: nn.Module, layer: str, hook: Callable[..., Any]) -> Iterator[None]:
    handle = network.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def identity(A: Tensor) -> Tensor:
    return A
