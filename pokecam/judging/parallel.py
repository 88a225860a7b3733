"""Work on many images: on a CPU image after image in threads, on a GPU many images at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pokecam.common.progress import counting
from pokecam.judging.case import Case, Indices
from pokecam.networks.classifier import prepare
from pokecam.networks.device import thread_pool

GPU_IMAGES = 16  # images whose changed copies run through the network together on a GPU

T = TypeVar("T")


def images_at_once(device: torch.device) -> int:
    """Return how many images are one task."""
    return 1 if device.type == "cpu" else GPU_IMAGES


def map_images(
    case: Case,
    rows: Indices,
    work: Callable[[Indices, Tensor], Sequence[Callable[[], T]]],
    label: str,
    unit: str = "images",
) -> list[T]:
    """Return the result of each image, in their order.

    On a CPU each image is a task, and each task runs on one core. That is faster than all cores on
    one small batch, and the results are the same to the bit with any number of cores. On a GPU,
    `GPU_IMAGES` are a task, and all cores finish what the GPU leaves to the CPU.

    Args:
        case: its packed images and its device are used.
        rows: (N,) int, rows of the packed images; a row may appear more than once.
        work: (numbers (n,) of some of the N images, their network input (n, 3, S, S)) → n
            functions, one for each of these images. `work` does most of what runs on the device,
            and the functions do the rest and return the results. The functions, and on a CPU
            `work`, run in several threads, so they must not change shared data.
        label: the name of the work, for the progress.
        unit: what is counted, for the progress.
    """
    size = images_at_once(case.device)
    starts = range(0, len(rows), size)
    batches = [np.arange(start, min(start + size, len(rows))) for start in starts]

    def run(numbers: Indices) -> Sequence[Callable[[], T]]:
        pixels = torch.from_numpy(case.packed.pixels[rows[numbers]])
        return work(numbers, prepare(pixels.to(case.device)))

    results = []
    with thread_pool(case.device) as pool, counting(label, len(rows), unit) as count:
        if size == 1:
            finished = pool.map(lambda numbers: [finish() for finish in run(numbers)], batches)
        else:
            finished = _one_ahead(
                [pool.submit(finish) for finish in run(batch)] for batch in batches
            )
        for results_of_batch in finished:
            results += results_of_batch
            count(len(results_of_batch))
    return results


def _one_ahead(batches: Iterator[list[Future[T]]]) -> Iterator[list[T]]:
    """Yield the results of each batch when the next one has been started."""
    previous: list[Future[T]] = []
    for futures in batches:
        if previous:
            yield [future.result() for future in previous]
        previous = futures
    yield [future.result() for future in previous]
