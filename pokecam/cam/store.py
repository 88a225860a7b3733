"""The maps of many pictures, on disk: one array per method that can be read a row at a time."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from pokecam.cam.core import capture, maps
from pokecam.classifier import BATCH, Classifier, prepare


def write(
    folder: Path, classifier: Classifier, pixels: np.ndarray, rows: np.ndarray, methods: list[str]
) -> None:
    """Write `<method>.npy`, float32 (N, C, h, w), raw, for the pictures in some rows of `pixels`.

    pixels: (M, S, S, 3) uint8, memory-mapped or not. rows: (N,) int, N > 0.
    methods: names in `methods.METHODS`; each batch of pictures goes through the network once for
    all of them. Runs on the device the classifier is on; memory does not grow with N.

    Raises `InputError` if a method does not fit the network.
    """
    device = next(classifier.parameters()).device
    arrays: dict[str, np.memmap] = {}
    for start in range(0, len(rows), BATCH):
        batch = torch.from_numpy(pixels[rows[start : start + BATCH]])
        captured = capture(classifier, prepare(batch.to(device)))
        for method in methods:
            values = maps(captured, method).cpu().numpy()  # (batch, C, h, w)
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


def layer(classifier: Classifier) -> str:
    """Name of the layer whose output the maps are made of: the last in the network's body."""
    names: list[str] = []
    module = classifier.body
    while type(module) is nn.Sequential:  # not its subclasses, which torchvision uses for blocks
        name, module = list(module.named_children())[-1]
        names.append(name)
    return ".".join(names)
