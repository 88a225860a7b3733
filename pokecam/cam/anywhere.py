"""Maps of any network, not only of those of the pipeline::

    from pokecam.cam.anywhere import cut, heatmaps

    classifier = cut(network, x, "layer4")  # once for a network and a layer
    heatmaps(classifier, x, "grad_cam")     # (N, C, H, W) in [0, 1], every class

`cut` divides the network at a layer into the two halves of a `Classifier` (`halves`), and finds out
how the output of the layer is laid out.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pokecam.cam.capture import capture, without_autocast
from pokecam.cam.device_display import display_on_device
from pokecam.cam.display import Floats
from pokecam.cam.halves import Body, Head, build_head, run_whole
from pokecam.cam.inputs import check_images, layer_name, plain_name, unwrap
from pokecam.cam.layout import Grid, TokenGrid, could_be_map, could_be_tokens, infer_grid
from pokecam.cam.maps import Classes, Groups, compute_maps
from pokecam.cam.outputs import describe
from pokecam.common.errors import InputError, did_you_mean, first_line
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import evaluating
from pokecam.networks.layers import cut_at

_POOLS = (
    *(nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Dropout, nn.Dropout2d),
)

# Blocks of a transformer that are tried as the default layer, from the last one.
_BLOCKS_TO_TRY = 4
# Heatmaps are computed in parts of this size, so that a GPU need not hold those of 1,000 classes.
DISPLAY_BYTES = 256 * 2**20

Layer = str | nn.Module | Sequence[str] | Sequence[nn.Module]


class CutClassifier(Classifier):
    """A network divided at a layer by `cut`."""

    def __init__(
        self,
        body: Body,
        head: nn.Module,
        grid: Grid,
        n_dimensions: int,
        classes: Sequence[str],
        image: Tensor,
    ) -> None:
        """`n_dimensions` are those of the features of one image."""
        super().__init__(
            body,
            head,
            backbone=type(body.network).__name__,
            head_kind="native",
            classes=classes,
            image_size=image.shape[-1],
        )
        self._grid = grid
        self._n_dimensions = n_dimensions
        self._image_shape = image.shape

    def forward(self, x: Tensor) -> Tensor:
        return run_whole(self.get_submodule("body.network"), x)

    def adapt_to(self, x: Tensor) -> None:
        """Check that tokens are laid out as `cut` found out, and let the head know the size."""
        if isinstance(self._grid, TokenGrid) and x.shape[1:] != self._image_shape:
            raise InputError(
                f"x: images {tuple(x.shape[1:])} given to a network that was divided for images "
                f"{tuple(self._image_shape)}; divide it again with these images, because its "
                "tokens lie otherwise"
            )
        if isinstance(self.head, Head):
            self.head.image = x[0]

    def grid(self, features: Tensor) -> Tensor:
        # One leading dimension, as a user's own function may expect.
        leading = features.shape[: -self._n_dimensions]
        return self._grid(features.flatten(0, len(leading) - 1)).unflatten(0, leading)

    @property
    def cam_layer(self) -> str:
        return plain_name(str(self.body.layer))


def cut(
    network: nn.Module,
    x: Tensor,
    layer: Layer | None = None,
    *,
    grid: Grid | None = None,
    classes: Sequence[str] | None = None,
) -> Classifier:
    """Divide a network at a layer, for `heatmaps` and for all that takes a `Classifier`.

    Args:
        network: images (N, 3, H, W) → logits (N, C), or an object that has them as its attribute
            or key `logits`. It is shared, not copied, and not changed. One that `torch.compile`
            has compiled runs as it is written.
        x: (N, 3, H, W), at least one image as the network takes it, on its device. The division
            is tested on the first image. The number of channels is that of the network.
        layer: its name in `network.named_modules()`, or the module itself. Its output is a map,
            (N, K, h, w) or (N, h, w, K), or tokens (N, T, K). The layers after it must read
            nothing else. None takes the last layer whose output is a map, except pooling, and in
            a transformer the last block whose patches are read.
        grid: output of the layer → (…, K, h, w), for any leading dimensions, where `layout` cannot
            tell how the output is laid out. For channels last it is `lambda A: A.movedim(-1, -3)`.
        classes: the names of the classes. None numbers them from 0; a single logit is called
            "positive".

    Raises:
        InputError: the network cannot be divided there, with the reason and what to do
            (docs/api.md lists the reasons).
    """
    check_images(x)
    network = unwrap(network)
    x = x[:1].detach().clone()
    with (
        evaluating(network),
        torch.inference_mode(False),
        torch.no_grad(),
        without_autocast(x.device),
    ):
        run = _run(network, x)
        divide = partial(_divide_at, network, x, run, grid)
        if layer is None:
            halves = _divide_at_default(network, run, divide)
        else:
            halves = divide(_check_layer(layer_name(network, layer), run))
    return CutClassifier(*halves, _class_names(classes, run.logits.shape[1]), x[0])


def heatmaps(
    network: nn.Module,
    x: Tensor,
    method: str = "grad_cam",
    lookalikes: Groups = (),
    *,
    classes: Classes | None = None,
    layer: Layer | None = None,
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
        lookalikes: groups of classes that look alike, by name or index, for the Finer-CAMs.
        classes: the M target classes, by name or index, one or several; None for all C. The time
            of gradient methods grows with M. Of a network with a single logit, "positive" is the
            evidence for its class, and "negative" the evidence against it.
        layer: the layer that maps are made of; None takes that of `cut`, or the default layer.

    Returns:
        (N, M, H, W) float32 in [0, 1], in the order of `classes`; (N, 1, H, W) for a method that
        has one map for all classes.

    Raises:
        InputError: the method, the layer or the classes do not fit the network.
    """
    captured = capture(_divide(network, x, layer), x)
    raw_maps = compute_maps(captured, method, lookalikes, classes)
    height, width = x.shape[-2:]
    n_at_once = max(1, DISPLAY_BYTES // (4 * height * width * raw_maps.shape[1]))
    parts = [display_on_device(maps, height, width).cpu() for maps in raw_maps.split(n_at_once)]
    return torch.cat(parts).numpy()


def _divide(network: nn.Module, x: Tensor, layer: Layer | None) -> Classifier:
    """Return a classifier whose body ends with the layer."""
    if not isinstance(network, Classifier):
        return cut(network, x, layer)
    if not isinstance(network, CutClassifier):
        if layer is None or isinstance(layer, str):
            return cut_at(network, layer, parameter="layer")
        raise InputError(
            f"layer: a {type(layer).__name__} given; give the layer's name for a classifier of the "
            "pipeline"
        )
    if layer is not None:
        name = plain_name(layer_name(network.get_submodule("body.network"), layer))
        if name != network.cam_layer:
            raise InputError(
                f"layer: {name} given for a network that is divided at {network.cam_layer}; give "
                f"the network itself, or divide it with `cut(network, x, {name!r})`"
            )
    return network


@dataclass
class _Run:
    """What a run of the whole network tells about its layers.

    Attributes:
        shapes: layer → the shapes of its output, one for each time that it runs, None for an
            output that is not a tensor; in the order in which the layers finish.
        conv_sizes: (height, width) of the output of each convolution.
        logits: (1, C).
    """

    shapes: dict[str, list[torch.Size | None]] = field(default_factory=dict)
    conv_sizes: list[tuple[int, int]] = field(default_factory=list)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def record(self, name: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        shape = output.shape if isinstance(output, Tensor) else None
        self.shapes.setdefault(name, []).append(shape)
        if shape is not None and isinstance(module, nn.Conv2d):
            self.conv_sizes.append((shape[-2], shape[-1]))


def _run(network: nn.Module, x: Tensor) -> _Run:
    """Run the network once, and record what its layers give.

    Raises:
        InputError: it does not run, or does not give logits (N, C).
    """
    run = _Run()
    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):
                hooks.callback(module.register_forward_hook(partial(run.record, name)).remove)
        try:
            run.logits = run_whole(network, x)
        except Exception as error:  # whatever the network's own code raises
            raise InputError(
                f"network: does not run with x, {tuple(x.shape)} of {x.dtype} on {x.device}: "
                f"{first_line(error)}; give x as the network takes it"
            ) from error
    if not isinstance(run.logits, Tensor) or run.logits.ndim != 2:
        raise InputError(
            f"network: gives {describe(run.logits)}, not logits (N, C); wrap it in a module that "
            "does"
        )
    return run


Halves = tuple[Body, nn.Module, Grid, int]


def _divide_at(network: nn.Module, x: Tensor, run: _Run, grid: Grid | None, layer: str) -> Halves:
    """Return the body, the head, and the layout of what passes between them."""
    body = Body(network, layer)
    A = body(x)
    layout = grid or infer_grid(body, layer, x, A, run.conv_sizes)
    laid_out = layout(A)
    if laid_out.ndim != 4 or len(laid_out) != 1:
        raise InputError(
            f"grid: turns {describe(A)} into {describe(laid_out)}; give a function that returns "
            "(N, K, h, w)"
        )
    return body, build_head(body, layout, x, A, run.logits), layout, A.ndim - 1


def _divide_at_default(network: nn.Module, run: _Run, divide: Callable[[str], Halves]) -> Halves:
    """Divide at the last layer, except pooling, whose output is a map.

    Where tokens come after the last map, it is the last layer of those, if the logits are read from
    its patches, or the last block that it is possible at.
    """
    layers = [
        (name, shapes[0])
        for name, shapes in run.shapes.items()
        if len(shapes) == 1
        and shapes[0] is not None
        and not isinstance(network.get_submodule(name), _POOLS)
        and (could_be_map(shapes[0]) or could_be_tokens(shapes[0]))
    ]
    if not layers:
        raise InputError(
            "layer: the network does not end in a map (N, K, h, w); name the layer to take"
        )
    last, shape = layers[-1]
    if len(shape) == 4:
        return divide(last)
    blocks = [
        name
        for name, shape_of_block in layers
        if shape_of_block[-1] == shape[-1]
        and isinstance(
            network.get_submodule(name.rpartition(".")[0]), nn.ModuleList | nn.Sequential
        )
    ]
    # Not the layers within a block, which end with a shape such as this, too.
    depth = min((name.count(".") for name in blocks), default=0)
    blocks = [name for name in blocks if name.count(".") == depth]
    *earlier, candidate = [*blocks[-_BLOCKS_TO_TRY:], last]
    while True:
        try:
            return divide(candidate)
        except InputError:
            if not earlier:
                raise
            candidate = earlier.pop()


def _check_layer(layer: str, run: _Run) -> str:
    """Return the layer if it runs exactly once for an image."""
    name, n_runs = plain_name(layer), len(run.shapes.get(layer, []))
    if n_runs == 0:
        hint = did_you_mean(layer, run.shapes)
        raise InputError(
            f"layer: {name} does not run when the network runs.{hint} Take one that does"
        )
    if n_runs > 1:
        raise InputError(
            f"layer: {name} runs {n_runs} times for an image; take the block that contains it"
        )
    return layer


def _class_names(classes: Sequence[str] | None, n_logits: int) -> Sequence[str]:
    if classes is None:
        return ["positive"] if n_logits == 1 else [str(c) for c in range(n_logits)]
    if n_logits == 1 and list(classes) == ["negative"]:
        raise InputError(
            "classes: 'negative' is the evidence against a single logit; give its class another "
            "name"
        )
    if len(classes) != n_logits:
        raise InputError(
            f"classes: {len(classes)} names given for {n_logits} logits; give one name for "
            "each logit, in their order"
        )
    return classes
