"""The steps of a training as CUDA graphs.

A step starts some hundred to a thousand small operations. On a GPU, to start them takes many times
as long as to do them. A graph starts all of them at once.
"""

import logging
from collections import Counter
from collections.abc import Callable

from pokecam.common.errors import first_line
from pokecam.networks import device
from pokecam.training.step import Step

WARM_UP = 3  # steps before a capture: the first ones choose algorithms and allocate memory

log = logging.getLogger(__name__)


class Replay:
    """Does the steps of a training as graphs, one for each number of images in a step.

    Args:
        step: does the first steps, and all of them where a graph cannot be captured.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.is_possible = True
        self._graphs: dict[int, Callable[[], None]] = {}
        self._n_done: Counter[int] = Counter()

    def run(self, n: int) -> None:
        """Do what `Step.run` does."""
        if not self.is_possible or self.step.at_once is not None:
            self.step.run(n)
        elif self._n_done[n] < WARM_UP:
            self._n_done[n] += 1
            with device.on_side_stream():
                self.step.run(n)
        else:
            graph = self._graphs.get(n) or self._capture(n)
            self.step.run(n, graph and (lambda _: graph()))

    def _capture(self, n: int) -> Callable[[], None] | None:
        try:
            self._graphs[n] = device.capture_graph(lambda: self.step.compute(n))
        except RuntimeError as error:
            self.is_possible = False
            log_reason(first_line(error))
            return None
        return self._graphs[n]


def log_reason(reason: str) -> None:
    """Say why steps are not replayed."""
    log.warning(
        "the steps are started one operation at a time, which takes several times as long on a "
        "GPU as a CUDA graph: %s",
        reason,
    )
