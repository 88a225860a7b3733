"""Examining a network without changing it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What fills a tensor with initial values, in place.
INITIALISE = {
    *(torch.Tensor.normal_, torch.Tensor.uniform_),
    *(value for name, value in vars(nn.init).items() if callable(value) and name.endswith("_")),
}


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and its children into evaluation mode; restore the mode of each at the end."""
    training = [child for child in module.modules() if child.training]
    try:
        for child in training:
            child.training = False
        yield
    finally:
        for child in training:
            child.training = True


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves out what gives tensors their initial values."""

    def __torch_function__(
        self,
        func: Callable,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in INITIALISE:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def building_without_content() -> Iterator[None]:
    """Build modules whose tensors have a shape but no values (the "meta" device).

    Random initialisation, which would change nothing, is left out: on that device it imports
    `torch._dynamo`, which takes longer than to build the network.
    """
    with torch.device("meta"), _WithoutInitialisation():
        yield


def run_without_content(module: nn.Module, size_px: int) -> Tensor:
    """Run a module on tensors that have a shape but no values (the "meta" device).

    This is fast and takes no memory. Hooks see which modules run, and the shapes.

    Args:
        module: images → result. It runs in evaluation mode and is not changed.
        size_px: side of the image it runs on.

    Returns:
        The result, without values either.
    """
    dtype = next(module.parameters()).dtype
    x = torch.empty(1, 3, size_px, size_px, dtype=dtype, device="meta")
    return without_content(module)(x)


def without_content(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a module, in evaluation mode, on a tensor without values."""
    tensors = module.state_dict(keep_vars=True)
    empty = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors.values()}
    # By id, so that weights that several modules share stay shared.
    state = {name: empty[id(tensor)] for name, tensor in tensors.items()}

    def run(x: Tensor) -> Tensor:
        with evaluating(module), torch.no_grad():
            return torch.func.functional_call(module, state, (x,))

    return run
