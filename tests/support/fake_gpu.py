"""A GPU without values, for machines that have none.

PyTorch's fake tensors have a shape, a type and a device, and no values. An operation on tensors of
different devices raises, as on a GPU. Values that are read on the CPU, and gradients, are zero.
Only the thread that enters `fake_gpu` is on this GPU: code that uses others runs `in_this_thread`.
"""

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from pokecam.cam import capture
from pokecam.networks import device
from pokecam.networks.classifier import Classifier

GPU = torch.device("cuda", 0)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ARRAY_TYPES = {
    getattr(torch, name): np.dtype(name)
    for name in ("float16", "float32", "float64", "int64", "int32", "uint8", "bool")
}


class Waits(TorchDispatchMode):
    """Records what the CPU waits for.

    Attributes:
        copies: the device that a tensor was copied to, `cpu` or `cuda`, and its shape.
        reads: how many numbers were read from a tensor on the GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[tuple[str, tuple[int, ...]]] = []
        self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense" and isinstance(args[0], FakeTensor):
            self.reads += args[0].device == GPU
            return 0
        if name.startswith("_fused_adamw"):  # which fake tensors do not know
            tensors = [tensor for value in args if isinstance(value, list) for tensor in value]
            assert {tensor.device for tensor in tensors} == {GPU}
            return None
        output = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_"):
            source = args[name == "copy_"]
            if source.device.type != output.device.type:
                self.copies.append((output.device.type, tuple(output.shape)))
        return output


@contextmanager
def fake_gpu(free_bytes: int = 2**30) -> Iterator[Waits]:
    """Let tensors on `GPU` be computed with.

    Args:
        free_bytes: the free memory of the GPU.

    Yields:
        What the CPU waits for.
    """
    to_array = Tensor.numpy

    def array(tensor: Tensor, *, force: bool = False) -> np.ndarray:
        if not isinstance(tensor, FakeTensor):
            return to_array(tensor, force=force)
        assert tensor.device.type == "cpu", "a tensor on a GPU cannot be an array"
        return np.zeros(tuple(tensor.shape), ARRAY_TYPES[tensor.dtype])

    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        mock.patch.object(Tensor, "numpy", array),
        mock.patch.object(capture, "check_images"),  # asks whether all values are finite
        mock.patch.object(device, "_free_bytes", return_value=free_bytes),
        mock.patch.object(FakeTensor, "__deepcopy__", _copy, create=True),
        mock.patch.object(torch.autograd, "backward", _set_gradients),
        mock.patch.object(torch.autograd, "grad", _gradients),
        Waits() as waits,
    ):
        yield waits


def on_gpu(build) -> Classifier:
    """Return what a function builds, with its tensors on the GPU. `Module.to` cannot move fake
    tensors."""
    with torch.device(GPU):
        return build()


def _copy(tensor: Tensor, memo: dict) -> Tensor:
    """What `copy.deepcopy` gives; PyTorch's reads memory that is not there."""
    copy = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        copy = nn.Parameter(copy, tensor.requires_grad)
    memo[id(tensor)] = copy
    return copy


# PyTorch runs backward passes in threads of a GPU, which it looks for.
def _set_gradients(tensors: Tensor, *_: object, **__: object) -> None:
    nodes, visited_nodes = [tensors.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in visited_nodes:
            continue
        visited_nodes.add(node)
        nodes += [next_node for next_node, _ in node.next_functions]
        if hasattr(node, "variable") and node.variable.grad is None:
            node.variable.grad = torch.zeros_like(node.variable)


def _gradients(
    outputs: Tensor, inputs: Tensor, grad_outputs: Tensor, **options: object
) -> tuple[Tensor]:
    batch = grad_outputs.shape[:1] if options.get("is_grads_batched") else ()
    assert grad_outputs.shape[len(batch) :] == outputs.shape
    assert grad_outputs.device == outputs.device
    return (inputs.new_zeros(*batch, *inputs.shape),)


class _CallingThread(Executor):
    """Does the work at once."""

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        future.set_result(function(*args, **kwargs))
        return future


@contextmanager
def in_this_thread(device: torch.device) -> Iterator[Executor]:
    """Stand in for `device.thread_pool`."""
    yield _CallingThread()
