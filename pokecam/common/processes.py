"""Work in processes of its own, for Python code of which one thread at a time runs in a process."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

from pokecam.common.errors import InputError


@contextmanager
def processes(
    number: int, prepare: Callable[..., object], *arguments: object
) -> Iterator[ProcessPoolExecutor]:
    """Run functions in other processes, which begin when there is work for them.

    They end with this process, even if it is killed. Ctrl-C reaches them through this process.

    Args:
        number: how many processes there are at most.
        prepare: a function that each process calls first. It is a function of a module.
        arguments: of `prepare`.

    Raises:
        InputError: a process was killed.
    """
    # spawn, because a fork would copy the threads and locks of this process
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(number, context, partial(_begin, prepare, *arguments)) as pool:
            yield pool
    except BrokenProcessPool:
        raise InputError(
            "a process that this one started was killed, most often because memory was short: "
            "free some, or run it on fewer cores (`taskset`)"
        ) from None


def _begin(prepare: Callable[..., object], *arguments: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
