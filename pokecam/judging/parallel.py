"""Image after image in threads, one core each."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from pokecam.common.progress import counting
from pokecam.judging.case import Case, Indices
from pokecam.networks.classifier import prepare
from pokecam.networks.device import thread_pool

T = TypeVar("T")


def map_images(
    case: Case,
    rows: Indices,
    work: Callable[[int, Tensor], T],
    label: str,
    unit: str = "images",
) -> list[T]:
    """Return what `work` gives for each image, in their order.

    The images are distributed over the cores, each on one of them. That is faster than all cores
    on one small batch, and the results are the same to the bit with any number of cores.

    Args:
        case: its packed images and its device are used.
        rows: (n,) int, rows of the packed images; a row may appear more than once.
        work: (i, network input (1, 3, S, S) of the image in rows[i]) → result. It runs in several
            threads, so it must not change shared data.
        label: the name of the work, for the progress.
        unit: what is counted, for the progress.
    """

    def run(i: int) -> T:
        pixels = torch.from_numpy(case.packed.pixels[rows[i : i + 1]])
        return work(i, prepare(pixels.to(case.device)))

    results = []
    with thread_pool(case.device) as pool, counting(label, len(rows), unit) as count:
        for result in pool.map(run, range(len(rows))):
            results.append(result)
            count(1)
    return results
