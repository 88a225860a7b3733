"""Which activation functions a network runs, for methods that are defined for ReLU alone."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import run_without_content

_RELUS = {F.relu, torch.relu, torch.relu_, F.relu_, Tensor.relu, Tensor.relu_}
_OTHERS = {
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
    """What speaks against guided backpropagation: the activation functions in `classifier` other
    than ReLU and ReLU6, in words, sorted; or that it has no ReLU at all.

    Runs the network on tensors without content, which takes no memory to speak of.
    """
    with _Record() as record:
        run_without_content(classifier, classifier.image_size)
    return sorted(record.others) or ([] if record.relus else ["no ReLU"])


def is_relu(func: Any) -> bool:
    """Whether a function that a `TorchFunctionMode` saw is ReLU."""
    return func in _RELUS


def is_relu6(func: Any, args: tuple, kwargs: dict) -> bool:
    """Whether a call that a `TorchFunctionMode` saw is ReLU6, which torch runs as a hardtanh that
    ends at 0 and 6."""
    if func is F.relu6:
        return True
    ends = (*args[1:3], *(kwargs[end] for end in ("min_val", "max_val") if end in kwargs))
    return func in (F.hardtanh, F.hardtanh_) and ends[:2] == (0, 6)


class _Record(TorchFunctionMode):
    """Takes down which activation functions run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.relus = False
        self.others: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if is_relu(func) or is_relu6(func, args, kwargs or {}):
            self.relus = True
        elif func in _OTHERS:
            self.others.add(_OTHERS[func])
        return func(*args, **(kwargs or {}))
