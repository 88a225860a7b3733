"""The heatmaps of all methods of a case: stored maps where there are any, else computed ones."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.judging.case import Case, Indices

Floats = NDArray[np.floating]


def heatmaps_of_predicted(case: Case, indices: Indices, x: Tensor) -> Floats:
    """Return the heatmaps of the predicted classes.

    Args:
        case: M methods.
        indices: (n,) int, images of the case.
        x: (n, 3, S, S), their network input.

    Returns:
        (n, M, S, S) in [0, 1].
    """
    classes = case.predicted[indices]
    return _heatmaps(case, x, lambda method: case.maps[method].of(indices, classes))


def heatmaps_of_difference(
    case: Case, indices: Indices, x: Tensor, classes: Indices, references: Indices
) -> Floats:
    """Return the heatmaps of the evidence for one class against another.

    It is the difference of their maps, which for CAM and Grad-CAM is the map of the difference of
    their logits. A method that compares classes anyway, or has one map for all of them, is taken
    as it is.

    Args:
        case: M methods.
        indices: (n,) int, images of the case.
        x: (n, 3, S, S), their network input.
        classes: (n,) int, the class of each image.
        references: (n,) int, the class that it is compared with.

    Returns:
        (n, M, S, S) in [0, 1].
    """

    def raw_maps(method: str) -> Floats:
        maps = case.maps[method].of(indices, classes)
        if not METHODS[method].has_difference:
            return maps
        return maps - case.maps[method].of(indices, references)

    return _heatmaps(case, x, raw_maps)


def _heatmaps(case: Case, x: Tensor, raw_maps: Callable[[str], Floats]) -> Floats:
    """Return heatmaps (n, M, S, S); `raw_maps` gives (n, h, w) for a method of `case.maps`."""
    captured = capture(case.network, x)
    maps_of_methods = [
        raw_maps(name) if name in case.maps else compute_maps(captured, name)[:, 0].cpu().numpy()
        for name in case.methods
    ]
    return np.stack([display(maps, x.shape[-1]) for maps in maps_of_methods], axis=1)
