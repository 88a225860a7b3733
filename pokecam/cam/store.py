"""The maps of many pictures, on disk: one array per method that can be read a row at a time."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pokecam.cam.folding import folded
from pokecam.cam.maps import capture, compute
from pokecam.cam.methods import check
from pokecam.common.progress import counting
from pokecam.data.packed.npy_rows import Rows
from pokecam.networks import layers
from pokecam.networks.classifier import Classifier, batch_size, in_batches
from pokecam.networks.device import inference_precision
from pokecam.networks.distributed import ALONE, Team


def write(
    folder: Path,
    classifier: Classifier,
    pixels: np.ndarray,
    rows: np.ndarray,
    methods: list[str],
    *,
    layer: str | None = None,
    alike: Sequence[Sequence[int]] = (),
    team: Team = ALONE,
) -> None:
    """Write `<method>.npy`, float32 (N, C, h, w), raw, for the pictures in some rows of `pixels`;
    (N, 1, h, w) for a method that has one map for all classes.

    pixels: (M, S, S, 3) uint8, memory-mapped or not. rows: (N,) int, N > 0.
    methods: names in `methods.METHODS`; each batch of pictures goes through the network once for
    all of them. Runs on the device the classifier is on; memory does not grow with N.
    layer: as in `layers.at`. alike: as in `core.maps`.
    team: the processes that share the pictures; the leader writes the files.

    Raises `InputError` if a method or the layer does not fit the network.
    """
    network = layers.at(classifier, layer)
    check(methods, network)
    network = folded(network)

    def run(x: Tensor, _: slice) -> dict[str, Tensor]:
        captured = capture(network, x, inference_precision(x.device))
        return {method: compute(captured, method, alike).cpu() for method in methods}

    at_once = batch_size(classifier) * team.count
    with ExitStack() as files, counting("maps", len(rows), shown=team.leads) as count:
        arrays: dict[str, Rows] = {}
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            share = team.share(len(some))
            n_own = share.stop - share.start
            # Who has no picture looks at one for the shape of its maps.
            own = in_batches(classifier, pixels, some[share] if n_own else some[:1], run)
            parts = [made for _, made in own]
            for method in methods:
                made = torch.cat([part[method] for part in parts])[:n_own]
                values = team.gathered(made, len(some)).float().numpy()
                if not team.leads:
                    continue
                if method not in arrays:
                    array = Rows(folder / f"{method}.npy", values.shape[1:], np.float32)
                    arrays[method] = files.enter_context(array)
                arrays[method].append(values)
            count(len(some))
