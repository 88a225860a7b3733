"""Doing without `torch._dynamo`.

It is the compiler of PyTorch, and its import takes as long as that of PyTorch itself. torchvision
imports it for one function, which only an operator for boxes calls (`torchvision.ops.roi_align`).
Optimisers import it for two functions that have no effect where nothing is compiled.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE, MODULE = "torch._dynamo", "torch._dynamo.utils"


@contextmanager
def late_dynamo() -> Iterator[None]:
    """Let what is imported or runs inside use some functions without importing the package.

    `is_compile_supported` imports its module when it is called. `disable` and `graph_break`, which
    optimisers call, do nothing. Any other name of the package is looked up in the package itself,
    which is imported then. Where it is imported already, nothing changes.
    """
    if PACKAGE in sys.modules:
        yield
        return
    sys.modules.update({name: _StandIn(name) for name in (PACKAGE, MODULE)})
    try:
        yield
    finally:
        _remove_stand_ins()


# Functions that PyTorch takes to be disabled. It keeps what `disable` returned in this attribute.
_not_disabled: list[Callable] = []
_ATTRIBUTE = "__dynamo_disable"


class _StandIn(ModuleType):
    """A module that takes the place of one of the package until a name of it is needed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, loader=None)

    def is_compile_supported(self, device_type: str) -> bool:
        return importlib.import_module(MODULE).is_compile_supported(device_type)

    def disable(self, function: Callable, *_: object, **__: object) -> Callable:
        _not_disabled.append(function)
        return function

    def graph_break(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name == "__path__" and self.__name__ == PACKAGE:
            # Another module of the package is imported: the import system looks for it here.
            return _real(PACKAGE).__path__
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _real(name: str) -> ModuleType:
    _remove_stand_ins()
    return importlib.import_module(name)


def _remove_stand_ins() -> None:
    while _not_disabled:
        function = _not_disabled.pop()
        if hasattr(function, _ATTRIBUTE):
            delattr(function, _ATTRIBUTE)
    for name in (PACKAGE, MODULE):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]
