"""Write the maps of many images: one array for each method, which can be read a row at a time."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pokecam.cam.capture import capture
from pokecam.cam.fitting import check_methods
from pokecam.cam.folding import fold_batchnorm
from pokecam.cam.maps import compute_maps
from pokecam.common.progress import counting
from pokecam.data.packed.npy_rows import NpyRows
from pokecam.networks import layers
from pokecam.networks.classifier import Classifier, batch_size, in_batches
from pokecam.networks.distributed import SINGLE_PROCESS, Team


def write_maps(
    folder: Path,
    classifier: Classifier,
    pixels: np.ndarray,
    rows: np.ndarray,
    methods: list[str],
    *,
    layer: str | None = None,
    lookalikes: Sequence[Sequence[int]] = (),
    team: Team = SINGLE_PROCESS,
) -> None:
    """Write `<method>.npy` for each method: the raw maps of images, for `StoredMaps` to read.

    Each batch of images goes through the network once for all methods, on the device that the
    classifier is on. Memory does not grow with the number of images.

    Args:
        folder: where the files go.
        classifier: the network.
        pixels: (M, S, S, 3) uint8, memory-mapped or not.
        rows: (N,) int, N > 0, the rows of `pixels` to map.
        methods: names in `methods.METHODS`.
        layer: the layer that maps are made of, as in `layers.cut_at`.
        lookalikes: groups of class indices, as in `compute_maps`.
        team: the processes that share the images. The main process writes the files.

    Raises:
        InputError: a method or the layer does not fit the network.
    """
    network = layers.cut_at(classifier, layer)
    check_methods(methods, network, parameter="cam_methods")
    network = fold_batchnorm(network)

    def map_batch(x: Tensor, _: slice) -> dict[str, Tensor]:
        captured = capture(network, x)
        return {method: compute_maps(captured, method, lookalikes).cpu() for method in methods}

    n_at_once = batch_size(classifier) * team.count
    with ExitStack() as files, counting("maps", len(rows), enabled=team.is_main) as count:
        arrays: dict[str, NpyRows] = {}
        for start in range(0, len(rows), n_at_once):
            chunk = rows[start : start + n_at_once]
            share = team.share(len(chunk))
            n_images = share.stop - share.start
            # A process without an image maps one nevertheless: it needs the shape of the maps.
            batches = in_batches(
                classifier, pixels, chunk[share] if n_images else chunk[:1], map_batch
            )
            maps_of_batches = [maps for _, maps in batches]
            for method in methods:
                maps = torch.cat([batch[method] for batch in maps_of_batches])[:n_images]
                values = team.all_gather(maps, len(chunk)).float().numpy()
                if not team.is_main:
                    continue
                if method not in arrays:
                    array = NpyRows(folder / f"{method}.npy", values.shape[1:], np.float32)
                    arrays[method] = files.enter_context(array)
                arrays[method].append(values)
            count(len(chunk))
