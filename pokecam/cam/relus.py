"""The activation functions of a network, for methods that are defined only for ReLU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import run_without_content

_RELUS = {F.relu, torch.relu, torch.relu_, F.relu_, Tensor.relu, Tensor.relu_}
_NAMES_OF_OTHERS = {
    F.hardswish: "hard-swish",
    F.hardsigmoid: "hard-sigmoid",
    F.silu: "SiLU",
    F.gelu: "GELU",
    torch.sigmoid: "sigmoid",
    Tensor.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    Tensor.tanh: "tanh",
    F.elu: "ELU",
    F.leaky_relu: "leaky ReLU",
    F.mish: "Mish",
}


def activations_other_than_relu(classifier: Classifier) -> list[str]:
    """Find the reasons why guided backpropagation is not defined for a network.

    The network runs on tensors without content, which needs next to no memory.

    Returns:
        The sorted names of its activation functions other than ReLU and ReLU6. If it has none of
        these and no ReLU either, the single entry "no ReLU".
    """
    with _ActivationRecorder() as recorder:
        run_without_content(classifier, classifier.image_size)
    return sorted(recorder.other_functions) or ([] if recorder.has_relu else ["no ReLU"])


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


class _ActivationRecorder(TorchFunctionMode):
    """A context that records the activation functions that run in it."""

    def __init__(self) -> None:
        super().__init__()
        self.has_relu = False
        self.other_functions: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if is_relu(func) or is_relu6(func, args, kwargs or {}):
            self.has_relu = True
        elif func in _NAMES_OF_OTHERS:
            self.other_functions.add(_NAMES_OF_OTHERS[func])
        return func(*args, **(kwargs or {}))
