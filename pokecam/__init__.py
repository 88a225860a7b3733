"""PokeCAM: fine-tune a network on images and show, in numbers, what it looks at.

Maps of any network::

    import pokecam

    maps = pokecam.heatmaps(network, x, "grad_cam", classes=[281])  # (N, 1, H, W) in [0, 1]

Predictions and maps of a classifier that the pipeline has trained; a notebook shows them::

    pokecam.explain("image.jpg", "models/classifier.safetensors")

The keys of `METHODS` are the methods. docs/api.md has examples.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pokecam.api import (
        METHODS,
        InputError,
        capture,
        compute_maps,
        cut,
        draw,
        explain,
        heatmaps,
        load_classifier,
        overlay,
        prepare,
    )

__all__ = [
    "METHODS",
    "InputError",
    "capture",
    "compute_maps",
    "cut",
    "draw",
    "explain",
    "heatmaps",
    "load_classifier",
    "overlay",
    "prepare",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, because torch takes seconds."""
    if name in __all__:
        return getattr(import_module("pokecam.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
