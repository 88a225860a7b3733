"""How the output of a layer is laid out: which of its dimensions are the height and the width.

A layer gives a map (N, K, h, w), a map with its channels last (N, h, w, K), or tokens (N, T, K) or
(N, K, T). All of them are tensors, and read in the wrong layout they give maps without an error. So
the layout must follow from something:

1. The network runs on an image of half the height, and on one of half the width. The dimensions
   that change are those of the image.
2. Where the network takes images of one size only, the layout must be the only one in which the
   layer has the proportions of the image; tokens must be as many as the pixels that a convolution
   of the network gives, or as patches of the image in its proportions. Tokens that are not
   patches are known by being the same for two images.

In 2, and for tokens, rows must also lie where they are taken to be: the activations of each half of
the image must change most with that half.

Otherwise the layer is refused.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from pokecam.cam.outputs import describe
from pokecam.common.errors import InputError

Grid = Callable[[Tensor], Tensor]
Size = tuple[int, int]

# Tokens that are not patches: a class token, that of a distillation, registers.
_MOST_EXTRA_TOKENS = 8

# By how much the share of change with the first half of the image must differ between the halves of
# the tokens, in standard deviations over tokens. It is 1.8 to 2.2 in 11 networks of timm and
# transformers whose tokens lie row by row, and at most 0.2 in the early blocks of Hiera.
_LEAST_CONTRAST = 0.5
_LEAST_LOCALITY = 0.01  # below this deviation, tokens are not local


def channels_first(A: Tensor) -> Tensor:
    """Return a map (…, K, h, w) as it is."""
    return A


def channels_last(A: Tensor) -> Tensor:
    """Lay out (…, h, w, K) as (…, K, h, w)."""
    return A.movedim(-1, -3)


@dataclass(frozen=True)
class TokenGrid:
    """Tokens (…, T, K), or (…, K, T), → (…, K, h, w), row by row.

    Attributes:
        size: h and w.
        dimension: of the tokens, −2 or −1.
        extra: the positions of tokens that are not patches, which are left out.
    """

    size: Size
    dimension: int
    extra: tuple[int, ...]

    def __call__(self, A: Tensor) -> Tensor:
        tokens = A.movedim(self.dimension, -1)  # (…, K, T)
        if self.extra == tuple(range(len(self.extra))):
            patches = tokens[..., len(self.extra) :]
        else:
            positions = [i for i in range(tokens.shape[-1]) if i not in self.extra]
            patches = tokens[..., positions]
        return patches.unflatten(-1, self.size)


def infer_grid(body: nn.Module, layer: str, x: Tensor, A: Any, conv_sizes: Iterable[Size]) -> Grid:
    """Return the function that lays out the output of a layer as (…, K, h, w).

    Args:
        body: images → output of the layer. Its attribute `network` is the whole network.
        layer: the name of the layer, for messages.
        x: (1, …, H, W), an image.
        A: the output of the layer for it.
        conv_sizes: height and width of the output of each convolution, in the order in which they
            run.

    Raises:
        InputError: the layout does not follow from anything.
    """
    grids: list[Grid] = []
    if isinstance(A, Tensor) and A.ndim in (3, 4) and len(A) == 1:
        probe = _Probe(body, x, A)
        grids = _grids_of_map(probe) if A.ndim == 4 else _grids_of_tokens(probe, tuple(conv_sizes))
    if len(grids) == 1:
        return grids[0]
    height, width = x.shape[-2:]
    reason = (
        "could be laid out in more than one way"
        if grids
        else "is neither a map (N, K, h, w) or (N, h, w, K) of the image nor the tokens of its "
        "patches (N, T, K)"
    )
    raise InputError(
        f"layer: {layer} gives {describe(A)} for an image of {height} × {width} px, which "
        f"{reason}; take another layer, or describe its layout with `grid`"
    )


def could_be_map(shape: torch.Size) -> bool:
    """Whether an output could be a map of more than one pixel, channels first or last."""
    return len(shape) == 4 and (min(shape[2:]) > 1 or min(shape[1:3]) > 1)


def could_be_tokens(shape: torch.Size) -> bool:
    """Whether an output could be tokens, with the images first or second."""
    return len(shape) == 3 and shape[2] > 1 and max(shape[:2]) > 1


def noise_like(values: Tensor, seed: int) -> Tensor:
    """Return standard normal numbers in the shape and type and on the device of other values."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(values.shape, generator=generator).to(values)


class _Probe:
    """What a layer gives for an image, and how that changes with the image. Each of the latter is
    computed when it is needed, and once.

    Attributes:
        body: images → output of the layer.
        x: (1, …, H, W), the image.
        A: the output of the layer for it.
    """

    def __init__(self, body: nn.Module, x: Tensor, A: Tensor) -> None:
        self.body = body
        self.x = x
        self.A = A

    @property
    def image_size(self) -> Size:
        return self.x.shape[-2], self.x.shape[-1]

    @cached_property
    def changing(self) -> tuple[set[int], set[int]] | None:
        """The dimensions of A that change with the height of the image, and with the width. None
        if the network takes images of one size, or pools to one size."""
        with_height, with_width = (
            _changing_with(self.body, self.x, self.A, axis) for axis in (-2, -1)
        )
        return (with_height, with_width) if with_height and with_width else None

    @cached_property
    def same_for_two_images(self) -> Tensor | None:
        """Which elements of A are the same for two images where the network first has a tensor of
        this shape. None if it has none before A."""
        other = self.x + noise_like(self.x, 0)
        first, others = (_first_like(self.body, image, self.A.shape) for image in (self.x, other))
        return None if first is None or others is None else first == others

    @cached_property
    def with_changed_halves(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Axis of the image → A with the first and with the last half along it changed."""
        noise = noise_like(self.x, 1)
        outputs = {}
        for axis in (-2, -1):
            pixels = self.x.shape[axis] // 2
            first, last = self.x.clone(), self.x.clone()
            for changed, start in ((first, 0), (last, self.x.shape[axis] - pixels)):
                changed.narrow(axis, start, pixels).add_(noise.narrow(axis, start, pixels))
            outputs[axis] = self.body(first), self.body(last)
        return outputs


def _changing_with(body: nn.Module, x: Tensor, A: Tensor, axis: int) -> set[int]:
    for factor in (0.5, 2):
        shape = list(x.shape)
        shape[axis] = max(1, round(factor * shape[axis]))
        try:
            with _restored(body):
                B = body(x.new_zeros(shape))
        except Exception:  # the network's own: it does not take such images
            continue
        if isinstance(B, Tensor) and B.ndim == A.ndim and B.shape != A.shape:
            return {d for d in range(1, A.ndim) if A.shape[d] != B.shape[d]}
    return set()


@contextmanager
def _restored(network: nn.Module) -> Iterator[None]:
    """Give the modules back the attributes that they have now.

    Some networks adapt themselves to the size of an image for good: the Swin Transformer of
    `transformers` narrows its windows.
    """
    dicts = [
        values
        for module in network.modules()
        for values in (module.__dict__, module._parameters, module._buffers, module._modules)
    ]
    before = [dict(values) for values in dicts]
    try:
        yield
    finally:
        for values, values_before in zip(dicts, before, strict=True):
            values.clear()
            values.update(values_before)


def _grids_of_map(probe: _Probe) -> list[Grid]:
    """Return the possible layouts of a map: channels first, channels last, both or none."""
    layouts: dict[Size, Grid] = {(2, 3): channels_first, (1, 2): channels_last}
    if probe.changing is not None:
        return [grid for (y, x), grid in layouts.items() if probe.changing == ({y}, {x})]
    shape = probe.A.shape
    return [
        grid
        for (y, x), grid in layouts.items()
        if _has_proportions((shape[y], shape[x]), probe.image_size) and _lies_in_rows(probe, grid)
    ]


def _has_proportions(size: Size, image: Size) -> bool:
    """Whether a map (h, w) can be the image (H, W) at some stride.

    A square image gives a square map. Otherwise the sides may differ from those of the image,
    divided by the stride, by what padding adds or takes away at the border.
    """
    (h, w), (H, W) = size, image
    if h > H or w > W:
        return False
    if H == W:
        return h == w
    strides = [
        (side / (cells + 2), side / (cells - 1) if cells > 1 else math.inf)
        for side, cells in ((H, h), (W, w))
    ]
    return (h <= w if H < W else h >= w) and (
        max(low for low, _ in strides) <= min(high for _, high in strides)
    )


def _grids_of_tokens(probe: _Probe, conv_sizes: tuple[Size, ...]) -> list[Grid]:
    """Return the possible layouts of tokens."""
    shape = probe.A.shape
    dimensions = [d for d in (1, 2) if probe.changing in (None, ({d}, {d}))]
    for sizes in (
        partial(_conv_sizes_of, conv_sizes),
        partial(_patch_sizes_of, probe.image_size),
    ):
        possible = [(d, size) for d in dimensions for size in sizes(shape[d])]
        if possible:
            break
    grids: list[Grid] = []
    extras: list[Grid] = []
    for d, size in possible:
        n_extra = shape[d] - size[0] * size[1]
        extra = _extra_tokens(probe, d) if n_extra else ()
        grid = TokenGrid(size, d - 3, extra)
        if len(extra) == n_extra and _lies_in_rows(probe, grid):
            (extras if extra else grids).append(grid)
    # That some tokens do not depend on the image proves that tokens are counted there.
    return extras or grids


def _lies_in_rows(probe: _Probe, grid: Grid) -> bool:
    """Whether the activations of each half of the image change most with that half.

    They do not where tokens are in the order of windows, or where columns come first. Where all
    change alike, as in an untrained network that only mixes them, there is no evidence against it.
    """
    before = grid(probe.A)
    for axis, outputs in probe.with_changed_halves.items():
        first, last = (
            (grid(output) - before).float().norm(dim=1, keepdim=True) for output in outputs
        )
        # From 1, where a token changes with the first half only, to −1.
        share = (first - last) / (first + last).clamp(min=torch.finfo(first.dtype).tiny)
        cells = before.shape[axis] // 2
        if cells == 0 or not share.std() > _LEAST_LOCALITY:
            continue
        near_first = share.narrow(axis, 0, cells).mean()
        near_last = share.narrow(axis, share.shape[axis] - cells, cells).mean()
        if near_first - near_last < _LEAST_CONTRAST * share.std():
            return False
    return True


def _conv_sizes_of(conv_sizes: tuple[Size, ...], n_tokens: int) -> list[Size]:
    """Return the size of the last convolution that gives one pixel for each patch."""
    fitting = [(h, w) for h, w in conv_sizes if 1 < h * w <= n_tokens <= h * w + _MOST_EXTRA_TOKENS]
    return fitting[-1:]


def _patch_sizes_of(image: Size, n_tokens: int) -> Iterator[Size]:
    """Yield the sizes in which tokens, with or without a class token, are square patches."""
    H, W = image
    for n_patches in (n_tokens, n_tokens - 1):
        h = math.isqrt(n_patches * H // W)
        if h > 0 and n_patches > 1:
            w = n_patches // h
            if h * w == n_patches and h * W == w * H:
                yield h, w


def _extra_tokens(probe: _Probe, dimension: int) -> tuple[int, ...]:
    """Return the positions of the tokens that do not depend on the image; none if no layer gives
    them before they are mixed."""
    same = probe.same_for_two_images
    if same is None:
        return ()
    return tuple(same.movedim(dimension, 0).flatten(1).all(dim=1).nonzero().flatten().tolist())


def _first_like(body: nn.Module, x: Tensor, shape: torch.Size) -> Tensor | None:
    """Return the first input or output of a module that has a shape."""
    first: list[Tensor] = []

    def record(values: Any) -> None:
        values = values if isinstance(values, tuple) else (values,)
        for value in values:
            if not first and isinstance(value, Tensor) and value.shape == shape:
                first.append(value.detach().clone())

    with ExitStack() as hooks:
        for module in body.modules():
            before = module.register_forward_pre_hook(lambda _, inputs: record(inputs))
            after = module.register_forward_hook(lambda _, _inputs, output: record(output))
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        body(x)
    return first[0] if first else None
