"""Maps of any network, not only of those of the pipeline::

    from pokecam.cam.anywhere import cut, heatmaps

    classifier = cut(network, x, "layer4")  # once for a network and a layer
    heatmaps(classifier, x, "grad_cam")     # (N, C, H, W) in [0, 1], every class

`cut` divides the network at a layer, whatever its `forward` does. The body is what runs up to the
layer, and the head is what runs after it. To run the body, the network is stopped when the layer
has run. To run the head, the network runs on a single empty image, and the output of the layer is
replaced by the activations; so the part before the layer costs one image, not a batch. The network
is not changed, and no hook stays in it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pokecam.cam.capture import capture
from pokecam.cam.display import Floats, display
from pokecam.cam.maps import Classes, compute_maps
from pokecam.cam.outputs import describe, find_logits
from pokecam.common.errors import InputError, did_you_mean
from pokecam.networks.backbones import Apply, GlobalAverage, square_of
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import evaluating
from pokecam.networks.layers import cut_at

# Logits of the divided and of the whole network may differ by this fraction of the largest one,
# because rounding depends on the size of the batch.
_TOLERANCE = 1e-3

# Scale of the random activations on which a head is compared with a linear layer. It is far beyond
# the activations of an image, so that a head with any nonlinearity gives clearly different logits.
_PROBE_SCALE = 100.0

_POOLS = (
    *(nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Dropout, nn.Dropout2d),
)

Grid = Callable[[Tensor], Tensor]
Shapes = dict[str, list[torch.Size | None]]


class _LayerReachedError(Exception):
    """The layer has run, and the rest of the network need not run."""


class _Body(nn.Module):
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


class _Head(nn.Module):
    """The network after a layer: output of the layer → logits.

    Args:
        body: the network up to the layer.
        image_shape: (3, H, W).
        single_image: whether the network runs on one empty image, or on as many as there are
            activations.
    """

    def __init__(self, body: _Body, image_shape: torch.Size, single_image: bool) -> None:
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


class CutClassifier(Classifier):
    """A network divided at a layer by `cut`."""

    def __init__(
        self, body: _Body, head: nn.Module, grid: Grid, classes: Sequence[str], image_size: int
    ) -> None:
        super().__init__(
            body,
            head,
            backbone=type(body.network).__name__,
            head_kind="native",
            classes=classes,
            image_size=image_size,
        )
        self._grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return find_logits(self.get_submodule("body.network")(x))

    def grid(self, features: Tensor) -> Tensor:
        return self._grid(features)

    @property
    def cam_layer(self) -> str:
        return str(self.body.layer)


def cut(
    network: nn.Module,
    x: Tensor,
    layer: str | None = None,
    *,
    grid: Grid | None = None,
    classes: Sequence[str] | None = None,
) -> Classifier:
    """Divide a network at a layer, for `heatmaps` and for all that takes a `Classifier`.

    Args:
        network: images (N, 3, H, W) → logits (N, C), or an object that has them as its attribute
            or key `logits`. It is shared, not copied, and not changed.
        x: (N, 3, H, W), at least one image as the network takes it, on its device. The division
            is tested on the first image.
        layer: its name in `network.named_modules()`. Its output is a map (N, K, h, w), or the
            tokens (N, T, K) of a square, row by row, with or without a class token before them.
            The layers after it must read nothing else. None takes the last layer whose output is
            a map, except pooling.
        grid: output of the layer → (…, K, h, w), for any leading dimensions, where the output has
            another layout. For channels last it is `lambda A: A.movedim(-1, -3)`.
        classes: the names of the classes; None numbers them from 0.

    Raises:
        InputError: the layer does not exist, does not run, or runs more than once for an image;
            what follows it reads more than its output; its output has a layout that is not known;
            the network does not give logits (N, C); or there is not one name for each logit.
    """
    with evaluating(network), torch.no_grad():
        shapes, logits = _record_shapes(network, x[:1])
        layer = _last_map(network, shapes) if layer is None else _check_layer(layer, shapes)
        body = _Body(network, layer)
        A = body(x[:1])
        to_grid = grid or _infer_grid(layer, A)
        head = _build_head(body, to_grid, x.shape[1:], A, logits)
    names = [str(c) for c in range(logits.shape[1])] if classes is None else classes
    if len(names) != logits.shape[1]:
        raise InputError(
            f"classes: {len(names)} names given for {logits.shape[1]} logits; give one name for "
            "each logit, in their order"
        )
    return CutClassifier(body, head, to_grid, names, x.shape[-1])


def heatmaps(
    network: nn.Module,
    x: Tensor,
    method: str = "grad_cam",
    lookalikes: Sequence[Sequence[int]] = (),
    *,
    classes: Classes | None = None,
    layer: str | None = None,
) -> Floats:
    """Compute heatmaps, as they are displayed and scored.

    A network that is not divided yet is divided here by `cut`, on the first image. For many
    batches divide it once, because the division costs up to seven runs with one image.

    Args:
        network: a network divided by `cut`, a classifier of the pipeline, or any other network
            that `cut` takes.
        x: (N, 3, H, W), network input.
        method: a name in `methods.METHODS`.
        lookalikes: groups of classes that look alike, by index, for the Finer-CAMs.
        classes: the M target classes, by name or index, one or several; None for all C. The time
            of gradient methods grows with M.
        layer: the layer that maps are made of; None takes that of `cut`, or the default layer.

    Returns:
        (N, M, H, W) float32 in [0, 1], in the order of `classes`; (N, 1, H, W) for a method that
        has one map for all classes.

    Raises:
        InputError: the method, the layer or the classes do not fit the network.
    """
    captured = capture(_divide(network, x, layer), x)
    raw_maps = compute_maps(captured, method, lookalikes, classes)
    return display(raw_maps.float().cpu().numpy(), (x.shape[-2], x.shape[-1]))


def _divide(network: nn.Module, x: Tensor, layer: str | None) -> Classifier:
    """Return a classifier whose body ends with the layer."""
    if not isinstance(network, Classifier):
        return cut(network, x, layer)
    if not isinstance(network, CutClassifier):
        return cut_at(network, layer)
    if layer not in (None, network.cam_layer):
        raise InputError(
            f"layer: {layer} given for a network that is divided at {network.cam_layer}; give the "
            f"network itself, or divide it with `cut(network, x, {layer!r})`"
        )
    return network


def _build_head(
    body: _Body, grid: Grid, image_shape: torch.Size, A: Tensor, logits: Tensor
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
        head = _Head(body, image_shape, single_image)
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
            layout = [] if grid is _identity else [Apply(grid)]
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


def _record_shapes(network: nn.Module, x: Tensor) -> tuple[Shapes, Tensor]:
    """Run the network, and record the shape of the output of every module.

    Returns:
        Module → the shapes, one for each time that it runs, None for an output that is not a
        tensor; in the order in which the modules finish. And the logits (N, C).
    """
    shapes: Shapes = {}

    def record(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        shapes.setdefault(name, []).append(output.shape if isinstance(output, Tensor) else None)

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            hooks.callback(module.register_forward_hook(partial(record, name)).remove)
        logits = find_logits(network(x))
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise InputError(
            f"network: gives {describe(logits)}, not logits (N, C); wrap it in a module that does"
        )
    return shapes, logits


@contextmanager
def _forward_hook(network: nn.Module, layer: str, hook: Callable[..., Any]) -> Iterator[None]:
    handle = network.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _check_layer(layer: str, shapes: Shapes) -> str:
    """Return the layer if it runs exactly once for an image."""
    if layer not in shapes:
        raise InputError(
            f"layer: the network has no layer {layer} that runs.{did_you_mean(layer, shapes)} "
            "`named_modules()` lists their names"
        )
    if len(shapes[layer]) > 1:
        raise InputError(
            f"layer: {layer} runs {len(shapes[layer])} times for an image; take the block that "
            "contains it"
        )
    return layer


def _last_map(network: nn.Module, shapes: Shapes) -> str:
    """Return the last layer, except pooling, that runs once and gives more than one pixel."""
    last, n_dimensions = "", 0
    for name, shapes_of_layer in shapes.items():
        shape = shapes_of_layer[0] if len(shapes_of_layer) == 1 else None
        if shape is None or isinstance(network.get_submodule(name), _POOLS):
            continue
        if len(shape) in (3, 4) and min(shape[-2:]) > 1:
            last, n_dimensions = name, len(shape)
    if n_dimensions != 4:
        raise InputError(
            "layer: the network does not end in a map (N, K, h, w); name the layer to take, for a "
            "vision transformer the last block but one"
        )
    return last


def _infer_grid(layer: str, A: Any) -> Grid:
    """Return the function that turns the output of a layer into (…, K, h, w)."""
    if isinstance(A, Tensor) and A.ndim == 4:
        return _identity
    if isinstance(A, Tensor) and A.ndim == 3:
        for n_class_tokens in (0, 1):
            n_tokens = A.shape[1] - n_class_tokens
            if math.isqrt(n_tokens) ** 2 == n_tokens:
                return partial(square_of, n_class_tokens=n_class_tokens)
    raise InputError(
        f"layer: {layer} gives {describe(A)}, neither a map (N, K, h, w) nor the tokens (N, T, K) "
        "of a square; take another layer, or describe its layout with `grid`"
    )


def _identity(A: Tensor) -> Tensor:
    return A
