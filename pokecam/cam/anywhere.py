"""Maps of any network, not only of those of the pipeline::

    from pokecam.cam.anywhere import cut, heatmaps

    classifier = cut(network, x, "layer4")  # once for a network and a layer
    heatmaps(classifier, x, "grad_cam")     # (N, C, H, W) in [0, 1], every class

`cut` divides the network at a layer into the two halves of a `Classifier` (`halves`), and finds out
how the output of the layer is laid out.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pokecam.cam.capture import capture
from pokecam.cam.display import Floats, display
from pokecam.cam.halves import Body, Grid, build_head, identity
from pokecam.cam.maps import Classes, compute_maps
from pokecam.cam.outputs import describe, find_logits
from pokecam.common.errors import InputError, did_you_mean
from pokecam.networks.backbones import square_of
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import evaluating
from pokecam.networks.layers import cut_at

_POOLS = (
    *(nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Dropout, nn.Dropout2d),
)

Shapes = dict[str, list[torch.Size | None]]


class CutClassifier(Classifier):
    """A network divided at a layer by `cut`."""

    def __init__(
        self, body: Body, head: nn.Module, grid: Grid, classes: Sequence[str], image_size: int
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
        body = Body(network, layer)
        A = body(x[:1])
        to_grid = grid or _infer_grid(layer, A)
        head = build_head(body, to_grid, x.shape[1:], A, logits)
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

    A network that is not divided yet is divided here by `cut`. That takes as long as three or four
    runs of the network with one image, in each call, so for many batches divide it once. Nothing
    is kept from call to call: the network could have changed.

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
        return identity
    if isinstance(A, Tensor) and A.ndim == 3:
        for n_class_tokens in (0, 1):
            n_tokens = A.shape[1] - n_class_tokens
            if math.isqrt(n_tokens) ** 2 == n_tokens:
                return partial(square_of, n_class_tokens=n_class_tokens)
    raise InputError(
        f"layer: {layer} gives {describe(A)}, neither a map (N, K, h, w) nor the tokens (N, T, K) "
        "of a square; take another layer, or describe its layout with `grid`"
    )
