"""Whether the activation functions of a network are all ReLU, for guided backpropagation.

A list of the functions that are refused would never be complete. So the network runs with every
ReLU and ReLU6 replaced by the identity, and every operation that reads something computed from the
image must be one of those below. Whatever is not is the name of a function that would need a rule
of its own, whether it is a module, a function, a method, or arithmetic such as `x * (x > 0)`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_RELUS = {F.relu, torch.relu, torch.relu_, F.relu_, Tensor.relu, Tensor.relu_}

# The operations of torch.ops.aten that keep a piecewise linear function piecewise linear. Shapes,
# sums and interpolation:
_LINEAR = frozenset(
    [
        "_adaptive_avg_pool2d",
        "_reshape_alias",
        "_to_copy",
        "_unsafe_view",
        "add",
        "alias",
        "as_strided",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "cat",
        "clone",
        "constant_pad_nd",
        "copy_",
        "expand",
        "flip",
        "im2col",
        "mean",
        "native_channel_shuffle",
        "neg",
        "permute",
        "pixel_shuffle",
        "pixel_unshuffle",
        "reflection_pad2d",
        "repeat",
        "replication_pad2d",
        "roll",
        "rsub",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "stack",
        "sub",
        "sum",
        "t",
        "transpose",
        "unbind",
        "unfold",
        "unsafe_split",
        "unsqueeze",
        "upsample_bicubic2d",
        "upsample_bilinear2d",
        "upsample_nearest2d",
        "view",
    ]
)
# Where one factor does not depend on the image, products. The factors are the first two inputs, or
# those after the first:
_PRODUCTS = frozenset(
    [
        "_convolution",
        "bmm",
        "convolution",
        "cudnn_convolution",
        "dot",
        "linear",
        "miopen_convolution",
        "mkldnn_convolution",
        "mkldnn_linear",
        "mm",
        "mul",
        "mv",
    ]
)
_SUMS_OF_PRODUCTS = frozenset(["addbmm", "addmm", "addmv", "baddbmm"])
# Where only the first input depends on the image: a choice, a fraction, maxima, normalisation. The
# gradient of the last two is that of backpropagation, as in the paper's networks.
_OF_THE_FIRST = frozenset(
    [
        "_batch_norm_no_update",
        "_batch_norm_with_update",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "adaptive_max_pool2d",
        "amax",
        "cudnn_batch_norm",
        "div",
        "index",
        "index_select",
        "masked_fill",
        "max_pool2d",
        "max_pool2d_with_indices",
        "miopen_batch_norm",
        "native_batch_norm",
        "native_group_norm",
        "native_layer_norm",
    ]
)
# Operations that read the shape only.
_CONSTANT = frozenset(
    [
        "empty_like",
        "full_like",
        "new_empty",
        "new_full",
        "new_ones",
        "new_zeros",
        "ones_like",
        "zeros_like",
    ]
)


def is_relu(func: Any) -> bool:
    """Return whether a function that a `TorchFunctionMode` intercepts is ReLU."""
    return func in _RELUS


def is_relu6(func: Any, args: tuple, kwargs: dict) -> bool:
    """Return whether a call that a `TorchFunctionMode` intercepts is ReLU6.

    torch runs ReLU6 as a hardtanh with the limits 0 and 6.
    """
    if func is F.relu6:
        return True
    limits = (*args[1:3], *(kwargs[name] for name in ("min_val", "max_val") if name in kwargs))
    return func in (F.hardtanh, F.hardtanh_) and limits[:2] == (0, 6)


def is_in_place(func: Any, args: tuple, kwargs: dict) -> bool:
    """Return whether a call of ReLU or ReLU6 that is intercepted overwrites its input."""
    if func.__name__.endswith("_"):
        return True
    position = {F.relu: 1, F.relu6: 1, F.hardtanh: 3}.get(func)
    in_place = args[position] if position is not None and len(args) > position else False
    return bool(kwargs.get("inplace", in_place))


def functions_other_than_relu(network: Callable[[Tensor], Any], x: Tensor) -> list[str]:
    """Find the reasons why guided backpropagation is not defined for a network.

    Args:
        network: the network, in evaluation mode. It runs once.
        x: what it runs on, with values or without.

    Returns:
        The sorted names of the functions of activations that are neither ReLU nor one of those that
        guided backpropagation leaves as they are. If there is none and no ReLU either, the single
        entry "no ReLU".
    """
    x = x.clone()
    relus, operations = _ReluAsIdentity(), _Operations(x)
    with torch.no_grad(), relus, operations:
        network(x)
    return sorted(operations.others) or ([] if relus.has_relu else ["no ReLU"])


class _ReluAsIdentity(TorchFunctionMode):
    """A context in which every ReLU and ReLU6 returns what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.has_relu = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_relu(func) or is_relu6(func, args, kwargs):
            self.has_relu = True
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    """A context that records which operations other than the above read what is computed from x.

    A tensor depends on x if an operation that reads x, or a tensor that depends on it, returns it
    or a tensor that shares its memory.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        # The storages themselves, because the address of one that is freed would be used again.
        self._dependent = {_address(x): x.untyped_storage()}
        self.others: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        inputs = [self._depends(value) for value in (*args, *kwargs.values())]
        result = func(*args, **kwargs)
        if any(inputs) and name not in _CONSTANT:
            if not self._is_allowed(name, inputs, args):
                base = name.strip("_")
                self.others.add("a product of activations" if base in _PRODUCTS else base)
            for tensor in tree_leaves(result):
                if isinstance(tensor, Tensor):
                    self._dependent[_address(tensor)] = tensor.untyped_storage()
        return result

    def _depends(self, value: Any) -> bool:
        return any(
            isinstance(leaf, Tensor) and _address(leaf) in self._dependent
            for leaf in tree_leaves(value)
        )

    def _is_allowed(self, name: str, inputs: list[bool], args: tuple) -> bool:
        name = name if name in _LINEAR else name.removesuffix("_")  # in place
        if not all(leaf.is_floating_point() for leaf in tree_leaves(args) if self._depends(leaf)):
            return False  # positions of maxima, or rounded values
        if name in _PRODUCTS:
            return sum(inputs[:2]) <= 1
        if name in _SUMS_OF_PRODUCTS:
            return sum(inputs[1:3]) <= 1
        if name in _OF_THE_FIRST:
            return not any(inputs[1:])
        if name == "where":
            return not inputs[0]
        return name in _LINEAR


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
