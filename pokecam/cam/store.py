"""The maps of many pictures, on disk: one array per method that can be read a row at a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from pokecam.cam import layers
from pokecam.cam.core import capture, compute
from pokecam.cam.methods import check
from pokecam.classifier import Classifier, in_batches
from pokecam.device import inference_precision
from pokecam.folding import folded


def write(
    folder: Path,
    classifier: Classifier,
    pixels: np.ndarray,
    rows: np.ndarray,
    methods: list[str],
    *,
    layer: str | None = None,
    alike: Sequence[Sequence[int]] = (),
) -> None:
    """Write `<method>.npy`, float32 (N, C, h, w), raw, for the pictures in some rows of `pixels`;
    (N, 1, h, w) for a method that has one map for all classes.

    pixels: (M, S, S, 3) uint8, memory-mapped or not. rows: (N,) int, N > 0.
    methods: names in `methods.METHODS`; each batch of pictures goes through the network once for
    all of them. Runs on the device the classifier is on; memory does not grow with N.
    layer: as in `layers.at`. alike: as in `core.maps`.

    Raises `InputError` if a method or the layer does not fit the network.
    """
    network = layers.at(classifier, layer)
    check(methods, network)
    network = folded(network)
    arrays: dict[str, np.memmap] = {}

    def run(x: Tensor) -> dict[str, np.ndarray]:
        captured = capture(network, x, inference_precision(x.device))
        return {method: compute(captured, method, alike).cpu().numpy() for method in methods}

    for start, computed in in_batches(classifier, pixels, rows, run):
        for method, values in computed.items():
            if method not in arrays:
                arrays[method] = np.lib.format.open_memmap(
                    folder / f"{method}.npy",
                    mode="w+",
                    dtype=np.float32,
                    shape=(len(rows), *values.shape[1:]),
                )
            arrays[method][start : start + len(values)] = values
    for array in arrays.values():
        array.flush()
