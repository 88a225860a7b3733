"""The halves of a network that is divided at a layer, whatever its `forward` does.

The body is what runs up to the layer, and the head is what runs after it. To run the body, the
network is stopped when the layer has run. To run the head, the network runs on a single empty
image, and the output of the layer is replaced by the activations; so the part before the layer
costs one image, not a batch. The network is not changed, and no hook stays in it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pokecam.cam.layout import Grid, channels_first, noise_like
from pokecam.cam.outputs import find_logits
from pokecam.common.errors import InputError
from pokecam.networks.backbones import Apply, GlobalAverage
from pokecam.networks.device import is_out_of_memory

# Logits of the divided and of the whole network may differ by this fraction of the difference
# between two images, and by rounding, which depends on the size of the batch: this fraction of the
# largest logit, or as many times the precision of the network.
_TOLERANCE = 1e-3
_ROUNDING = 1e-5
_TOLERANCE_EPS = 4

# Scale of the random activations on which a head is compared with a linear layer. It is far beyond
# the activations of an image, so that a head with any nonlinearity gives clearly different logits.
_PROBE_SCALE = 100.0


class _LayerReached(BaseException):
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
            raise _LayerReached

        with eager(self.network), _forward_hook(self.network, self.layer, stop):
            try:
                self.network(x.clone())  # some networks normalise their input in place
            except _LayerReached:
                return outputs[0]
        raise InputError(
            f"layer: {self.layer} does not run when the network runs; take a layer that does"
        )


class Head(nn.Module):
    """The network after a layer: output of the layer → logits.

    Args:
        body: the network up to the layer.
        image: (3, H, W), what an image is like; only its shape and type are used.
        dtype: the type of the layer's output, in which the network continues.
        single_image: whether the network runs on one empty image, or on as many as there are
            activations.
    """

    def __init__(self, body: Body, image: Tensor, dtype: torch.dtype, single_image: bool) -> None:
        super().__init__()
        # In a list, so that it does not become a submodule: the body owns the network already.
        self._bodies = [body]
        self.image = image
        self._dtype = dtype
        self._single_image = single_image

    def forward(self, A: Tensor) -> Tensor:
        (body,) = self._bodies
        n_images = 1 if self._single_image else len(A)
        x = A.new_zeros(n_images, *self.image.shape, dtype=self.image.dtype)
        needs_grad = torch.is_grad_enabled()

        def replace(_module: nn.Module, _inputs: Any, _output: Tensor) -> Tensor:
            # Of a network that switches gradients off for the part that the layer is in.
            torch.set_grad_enabled(needs_grad)
            return A.to(self._dtype, copy=True)  # the next layer may overwrite it

        with (
            torch.set_grad_enabled(needs_grad),  # which ends with what `replace` sets
            eager(body.network),
            _forward_hook(body.network, body.layer, replace),
        ):
            return find_logits(body.network(x))


class LinearOf(nn.Linear):
    """A linear layer of the network, in a second position.

    It has no parameters of its own. `torch.func.functional_call` could not restore a module that
    stands in two positions, and a parametrised weight is computed anew each time.
    """

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self._layers = [layer]
        self.in_features, self.out_features = layer.in_features, layer.out_features

    def __getattr__(self, name: str) -> Any:
        if name in ("weight", "bias"):
            return getattr(self._layers[0], name)
        return super().__getattr__(name)

    def forward(self, x: Tensor) -> Tensor:
        # Not `F.linear`: a weight may be computed by a hook, such as that of pruning.
        return self._layers[0](x.to(self.weight.dtype))


def build_head(body: Body, grid: Grid, x: Tensor, A: Tensor, logits: Tensor) -> nn.Module:
    """Build the head in the cheapest form that gives the logits of the network.

    Args:
        body: the network up to the layer.
        grid: output of the layer → (…, K, h, w).
        x: (1, …), an image.
        A: (1, …), the output of the layer for it.
        logits: (1, C), its logits.

    Raises:
        InputError: the logits depend on more than the layer's output, not on all of it, or on
            chance; or no gradient reaches it.
    """
    # Another image, in which a shortcut around the layer is not hidden by a black one, by a large
    # bias, or by logits that hardly differ.
    other_x = x + noise_like(x, 2)
    other_A, other_logits = body(other_x), run_whole(body.network, other_x)
    eps = max(torch.finfo(values.dtype).eps for values in (x, A, logits))
    relative = max(_TOLERANCE, _TOLERANCE_EPS * eps)
    tolerance = float(
        relative * (logits - other_logits).abs().max()
        + max(_ROUNDING, _TOLERANCE_EPS * eps) * logits.abs().max()
    )
    large = _PROBE_SCALE * noise_like(A, 0)
    other_patches = torch.where(_read_by(grid, A), large, A)
    probes = torch.cat([A, large, torch.zeros_like(A), other_patches, other_A])
    expected = torch.cat([logits, other_logits])
    for single_image in (True, False):
        whole = Head(body, x[0], A.dtype, single_image)
        try:
            probe_logits = whole(probes)
        except Exception as error:  # the network takes the number of images from its input
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise
            continue
        if len(probe_logits) == len(probes) and _agree(probe_logits[[0, -1]], expected, tolerance):
            _check_dependence(body.layer, probe_logits)
            head = _linear_head(body.network, grid, probes, probe_logits, relative) or whole
            _check_gradient(body.layer, head, A)
            return head
    raise InputError(_why_not_divided(body, x, A, logits, tolerance))


def _why_not_divided(body: Body, x: Tensor, A: Tensor, logits: Tensor, tolerance: float) -> str:
    """Return why no head gives the logits of the network."""
    if not _agree(run_whole(body.network, x), logits, tolerance):
        return (
            "network: gives other logits for the same image each time, in evaluation mode, too; "
            "switch off what is random in its `forward`, as `F.dropout(x)` without `self.training`"
        )
    two = run_whole(body.network, torch.cat([x, x + 1]))
    if two.shape[1:] != logits.shape[1:] or not _agree(two[:1], logits, tolerance):
        return (
            "network: gives other logits for an image when there are others in the batch; let "
            "BatchNorm track running statistics, or replace what else mixes the images"
        )
    return (
        f"layer: what follows {body.layer} reads more than its output, as inside a block with a "
        "shortcut; take the block, or a layer after it"
    )


def _read_by(grid: Grid, A: Tensor) -> Tensor:
    """Return which elements of the output of a layer the grid reads, True or False."""
    with torch.enable_grad():
        leaf = torch.zeros(A.shape, device=A.device, requires_grad=True)
        (read,) = torch.autograd.grad(grid(leaf).sum(), leaf)
    return read != 0


def _check_dependence(layer: str, probe_logits: Tensor) -> None:
    """Check that the logits change with the activations.

    Args:
        layer: the name of the layer.
        probe_logits: (5, C), of the probes of `build_head`.

    Raises:
        InputError: they do not, so that every map would be empty.
    """
    usual, large, _, other_patches, _ = probe_logits
    if usual.equal(large):
        raise InputError(
            f"layer: the logits are the same whatever {layer} gives; take another layer, or train "
            "the network if its last layer is still 0"
        )
    if usual.equal(other_patches):
        raise InputError(
            f"layer: the logits do not depend on the patches of {layer}, but on its class token "
            "only, so every map would be empty; take the block before it"
        )


def _check_gradient(layer: str, head: nn.Module, A: Tensor) -> None:
    """Check that gradients of the logits reach the activations.

    Raises:
        InputError: they do not.
    """
    try:
        with torch.enable_grad():
            leaf = A.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(head(leaf).sum(), leaf, allow_unused=True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        gradient = None
    if gradient is None:
        raise InputError(
            f"layer: no gradient of the logits reaches {layer}; take a layer after what stops it, "
            "or remove that (`detach`, `inference_mode`, a reentrant checkpoint, parameters that "
            "were created in inference mode)"
        )


def _linear_head(
    network: nn.Module, grid: Grid, probes: Tensor, probe_logits: Tensor, tolerance: float
) -> nn.Module | None:
    """Return average pooling and one of the network's linear layers, if that is the same head.

    Args:
        network: the whole network.
        grid: output of the layer → (…, K, h, w).
        probes: (n, …), activations: of an image, large random ones, zeros, and others.
        probe_logits: (n, C), what the head gives for them.
        tolerance: as in `_agree_relatively`.
    """
    pooled = grid(probes).mean(dim=(-2, -1))  # (n, K)
    weight_shape = (probe_logits.shape[1], pooled.shape[1])
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and layer.weight.shape == weight_shape:
            # The product with its weight, and what the layer returns: a hook may change that.
            product = F.linear(pooled, layer.weight.to(pooled), None)
            layout = [] if grid is channels_first else [Apply(grid)]
            head = nn.Sequential(*layout, GlobalAverage(), LinearOf(layer))
            head_logits = head(probes)
            if _agree_relatively(head_logits[0], probe_logits[0], tolerance) and all(
                _agree_relatively(
                    values[1] - values[2], probe_logits[1] - probe_logits[2], tolerance
                )
                for values in (head_logits, product)
            ):
                return head
    return None


def run_whole(network: nn.Module, x: Tensor) -> Any:
    """Return the logits of a network, which may change its input."""
    with eager(network):
        return find_logits(network(x.clone()))


def _agree(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two logits differ by at most the tolerance."""
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance)


def _agree_relatively(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two logits are equal up to a fraction of the largest one."""
    return _agree(a, b, tolerance * float(b.abs().max()))


@contextmanager
def eager(network: nn.Module) -> Iterator[None]:
    """Let what `torch.compile` has compiled run as it is written, so that hooks run."""
    is_compiled = any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in network.modules()
    )
    with torch.compiler.set_stance("force_eager") if is_compiled else nullcontext():
        yield


@contextmanager
def _forward_hook(network: nn.Module, layer: str, hook: Callable[..., Any]) -> Iterator[None]:
    handle = network.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
