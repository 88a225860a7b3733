"""The steps of a training as CUDA graphs.

A step starts some hundred to a thousand small operations. On a GPU, to start them takes many times
as long as to do them. A graph starts all of them at once.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection

from pokecam.common.errors import first_line
from pokecam.networks.device import Graphs
from pokecam.training.step import Step

WARM_UP = 3  # steps before a capture: the first ones choose algorithms and allocate memory

log = logging.getLogger(__name__)


class Replay:
    """Does the steps of a training as graphs, one for each number of images in a step.

    The first steps run one operation at a time, until there were `WARM_UP`, and one of each size.
    The memory that the graphs hold would be missing in later ones.

    Args:
        step: does the first steps, and all of them where a graph cannot be captured.
        sizes: the numbers of images in the steps.
        graphs: captures and replays.
    """

    def __init__(self, step: Step, sizes: Collection[int], graphs: Graphs) -> None:
        self.step, self.graphs = step, graphs
        self._is_possible = True
        self._sizes = set(sizes)
        self._n_done: Counter[int] = Counter()
        self._replays: dict[int, Callable[[], None]] = {}

    def run(self, n: int) -> None:
        """Do what `Step.run` does."""
        if not self._is_possible or self.step.at_once is not None:
            self._replays.clear()
            self.step.run(n)
        elif self._n_done.total() < WARM_UP or not self._n_done.keys() >= self._sizes:
            with self.graphs.warming_up():
                self.step.run(n)
            self._n_done[n] += 1
        else:
            replay = self._replays.get(n) or self._capture(n)
            self.step.run(n, replay and (lambda _: replay()))

    def _capture(self, n: int) -> Callable[[], None] | None:
        try:
            self._replays[n] = self.graphs.capture(lambda: self.step.compute(n))
        except RuntimeError as error:
            self._is_possible = False
            self._replays.clear()
            log_reason(first_line(error))
            return None
        return self._replays[n]


def log_reason(reason: str) -> None:
    """Say why steps are not replayed."""
    log.warning(
        "the steps are started one operation at a time, which takes several times as long on a "
        "GPU as a CUDA graph: %s",
        reason,
    )
