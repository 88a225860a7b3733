"""Looking at a network without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and its children into evaluation mode; at the end each has its own mode back."""
    training = [child for child in module.modules() if child.training]
    try:
        for child in training:
            child.training = False
        yield
    finally:
        for child in training:
            child.training = True


def run_without_content(module: nn.Module, size_px: int) -> Tensor:
    """Run `module` in evaluation mode on an image of `size_px` pixels, with tensors that have a
    shape and nothing in them: for what hooks and modes can see of it. Costs next to nothing.

    Returns the result, as empty as the rest.
    """
    tensors = module.state_dict(keep_vars=True)
    empty = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors.values()}
    state = {name: empty[id(tensor)] for name, tensor in tensors.items()}  # what is shared stays so
    dtype = next(module.parameters()).dtype
    x = torch.empty(1, 3, size_px, size_px, dtype=dtype, device="meta")
    with evaluating(module), torch.no_grad():
        return torch.func.functional_call(module, state, (x,))
