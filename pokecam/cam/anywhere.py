"""Maps of any network, not only of the pipeline's.

    from pokecam.cam.anywhere import cut, heatmaps

    seen = cut(network, x, "layer4")     # once for a network and a layer
    heatmaps(seen, x, "grad_cam")        # (N, C, H, W) in [0, 1], every class

`cut` divides the network at a layer, whatever its `forward` does: what runs up to the layer is the
body, which stops there, and what runs after it is the head. The head is had by running the network
on one empty image, with the layer's output exchanged; so it costs one image's run, not the
batch's. Nothing of the network is changed, and no hook is left in it.
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
from pokecam.cam.maps import compute_maps
from pokecam.common.errors import InputError, did_you_mean
from pokecam.networks.backbones import Apply, GlobalAverage, square_of
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import evaluating

# What the divided network may differ from the whole: other batches round differently.
_TOLERANCE = 1e-3

_FAR = 100.0  # activations so large that nothing but a linear layer keeps to its line

_POOLS = (
    *(nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Dropout, nn.Dropout2d),
)

Grid = Callable[[Tensor], Tensor]


class _ReachedError(Exception):
    """The layer has run; what follows is not wanted."""


class _Body(nn.Module):
    """Images → what the layer gives."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        given: list[Tensor] = []

        def stop(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            given.append(output)
            raise _ReachedError

        with _hooked(self.network, self.layer, stop):
            try:
                self.network(x)
            except _ReachedError:
                return given[0]
        raise InputError(f"layer: {self.layer} does not run when the network does")


class _Head(nn.Module):
    """What the layer gives → logits."""

    def __init__(self, body: _Body, shape: torch.Size, alone: bool) -> None:
        super().__init__()
        # Not as a child: the body has the network already, and the head no layers of its own.
        self._of = [body]
        self._shape = shape
        self._alone = alone

    def forward(self, A: Tensor) -> Tensor:
        (body,) = self._of
        x = A.new_zeros(1 if self._alone else len(A), *self._shape)
        wanted = torch.is_grad_enabled()

        def exchange(_module: nn.Module, _inputs: Any, _output: Tensor) -> Tensor:
            torch.set_grad_enabled(wanted)
            return A.clone()  # the next layer may overwrite it

        with torch.no_grad(), _hooked(body.network, body.layer, exchange):
            return body.network(x)


class _Cut(Classifier):
    """A network divided at a layer; see `cut`."""

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
        return self.get_submodule("body.network")(x)

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

    network: images (N, 3, H, W) → logits (N, C); shared, not copied, and left as it is.
    x: (N, 3, H, W), one image or more of the kind that it takes, on its device. The division is
        tried on the first.
    layer: its name among `network.named_modules()`. It gives a map (N, K, h, w), or tokens
        (N, T, K) in rows of a square, with a class token before them or without, and what follows
        reads nothing else. None: the last that gives a map, pooling aside.
    grid: what the layer gives, with any further dimensions before, → (…, K, h, w), where it is
        laid out in another way. Channels last: `lambda A: A.movedim(-1, -3)`.
    classes: their names; by default their numbers.

    Raises `InputError` for a layer that there is not, that runs more than once, or after which
    something else of the network is still read.
    """
    with evaluating(network), torch.no_grad():
        runs, logits = _runs(network, x[:1])
        layer = _last_map(network, runs) if layer is None else _found(layer, runs)
        body = _Body(network, layer)
        A = body(x[:1])
        laid = grid or _grid_of(layer, A)
        head = _head(body, laid, x.shape[1:], A, logits)
    names = [str(c) for c in range(logits.shape[1])] if classes is None else classes
    return _Cut(body, head, laid, names, x.shape[-1])


def heatmaps(
    classifier: Classifier,
    x: Tensor,
    method: str = "grad_cam",
    alike: Sequence[Sequence[int]] = (),
) -> Floats:
    """The maps of every class, as they are shown and scored: float32 (N, C, H, W) in [0, 1], or
    (N, 1, H, W) by a method that has one for all classes.

    classifier: of `cut`, or the pipeline's. x: (N, 3, H, W), network input. method: a name in
    `methods.METHODS`. alike: groups of classes that look alike, by number, for the Finer-CAMs.

    Raises `InputError` if the method does not fit the network.
    """
    raw = compute_maps(capture(classifier, x), method, alike)
    return display(raw.float().cpu().numpy(), (x.shape[-2], x.shape[-1]))


def _head(body: _Body, grid: Grid, shape: torch.Size, A: Tensor, logits: Tensor) -> nn.Module:
    """What follows the layer, in the cheapest form that does the same.

    shape: (3, H, W). A, logits: (1, …), what the layer and the network give for an image.
    """
    far = _FAR * torch.randn(A.shape, generator=torch.Generator().manual_seed(0)).to(A)
    tried = torch.cat([A, far, torch.zeros_like(A)])
    for alone in (True, False):
        head = _Head(body, shape, alone)
        try:
            given = head(tried)
        except RuntimeError:  # it has the number of images from elsewhere
            continue
        if len(given) == len(tried) and _same(given[:1], logits):
            return _linear_head(body.network, grid, tried, given) or head
    raise InputError(
        f"layer: what follows {body.layer} reads more than what it gives, as within a block "
        "with a shortcut; take the block, or a layer after it"
    )


def _linear_head(network: nn.Module, grid: Grid, tried: Tensor, given: Tensor) -> nn.Module | None:
    """Average pooling and one of the network's linear layers, if that is what gives these logits
    (3, C) for activations (3, …) of an image, far from any, and zero."""
    shape = (given.shape[1], grid(tried).shape[1])
    if given[1].equal(given[2]):  # all images are alike to it, and nothing can be told
        return None
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and layer.weight.shape == shape:
            layout = [] if grid is _as_it_is else [Apply(grid)]
            pooled = nn.Sequential(*layout, GlobalAverage(), _another(layer))
            logits = pooled(tried)
            if _same(logits[0], given[0]) and _same(logits[1] - logits[2], given[1] - given[2]):
                return pooled
    return None


def _another(layer: nn.Linear) -> nn.Linear:
    """A layer with the same parameters: one module in two places is more than
    `torch.func.functional_call` can put back."""
    other = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    other.weight, other.bias = layer.weight, layer.bias
    return other


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= _TOLERANCE * b.abs().max())


def _runs(network: nn.Module, x: Tensor) -> tuple[dict[str, list[torch.Size | None]], Tensor]:
    """Return the shape of what each module gives every time it runs, None if that is no tensor;
    those that end first before the others; and the logits."""
    runs: dict[str, list[torch.Size | None]] = {}

    def note(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        runs.setdefault(name, []).append(output.shape if isinstance(output, Tensor) else None)

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        logits = network(x)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise InputError(
            f"network: gives {_kind(logits)}, not logits (N, C); wrap it in a module that does"
        )
    return runs, logits


@contextmanager
def _hooked(network: nn.Module, layer: str, hook: Callable[..., Any]) -> Iterator[None]:
    handle = network.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _found(layer: str, runs: dict[str, list[torch.Size | None]]) -> str:
    """`layer`, if it is one that runs, and once."""
    if layer not in runs:
        raise InputError(
            f"layer: the network has no layer {layer} that runs.{did_you_mean(layer, runs)} "
            "`named_modules()` has their names"
        )
    if len(runs[layer]) > 1:
        raise InputError(
            f"layer: {layer} runs {len(runs[layer])} times an image; take the block that it is in"
        )
    return layer


def _last_map(network: nn.Module, runs: dict[str, list[torch.Size | None]]) -> str:
    """The last layer but for pooling that gives a map of more than one pixel, once."""
    last, dimensions = "", 0
    for name, shapes in runs.items():
        shape = shapes[0] if len(shapes) == 1 else None
        if shape is None or isinstance(network.get_submodule(name), _POOLS):
            continue
        if len(shape) in (3, 4) and min(shape[-2:]) > 1:
            last, dimensions = name, len(shape)
    if dimensions != 4:
        raise InputError(
            "layer: the network does not end in a map (N, K, h, w); name the layer to take, of a "
            "vision transformer the last block but one"
        )
    return last


def _grid_of(layer: str, A: Any) -> Grid:
    """How (…, K, h, w) comes from what a layer gives."""
    if isinstance(A, Tensor) and A.ndim == 4:
        return _as_it_is
    if isinstance(A, Tensor) and A.ndim == 3:
        for before in (0, 1):
            if math.isqrt(A.shape[1] - before) ** 2 == A.shape[1] - before:
                return partial(square_of, before=before)
    raise InputError(
        f"layer: {layer} gives {_kind(A)}, neither a map (N, K, h, w) nor tokens (N, T, K) in rows "
        "of a square; name another, or say with `grid` how it is laid out"
    )


def _as_it_is(A: Tensor) -> Tensor:
    return A


def _kind(given: Any) -> str:
    """What something is, for a message."""
    return f"{tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
