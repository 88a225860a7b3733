"""Work in other processes, for Python code, of which one thread at a time runs in a process."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.context import SpawnContext, SpawnProcess

from pokecam.common.errors import InputError


@contextmanager
def processes(
    number: int, prepare: Callable[..., object], *arguments: object
) -> Iterator[ProcessPoolExecutor]:
    """Run functions in other processes, which begin when there is work for them.

    A process imports the modules of its functions, and not the program that started it. It ends
    with this process, even if that is killed. Ctrl-C reaches it through this process. Work that has
    not begun at the end is dropped.

    Args:
        number: how many processes there are at most.
        prepare: a function that each process calls first. It is a function of a module.
        arguments: of `prepare`.

    Raises:
        InputError: a process ended before its work.
    """
    begin = partial(_begin, prepare, *arguments)
    pool = ProcessPoolExecutor(number, _Context(), begin)
    try:
        yield pool
    except BrokenProcessPool:
        raise InputError(
            "a process that this one started has ended before its work. If there is no error "
            "above, it was killed, most often because memory was short: free some, and run it again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


class _Process(SpawnProcess):
    def start(self) -> None:
        # By these two, a process would find the program of its parent and import it.
        main = vars(sys.modules["__main__"])
        names = [name for name in ("__spec__", "__file__") if name in main]
        hidden: dict[str, object] = {name: main.pop(name) for name in names}
        main["__spec__"] = None
        try:
            super().start()
        finally:
            main.update(hidden)


class _Context(SpawnContext):
    """spawn, because a fork would copy the threads and locks of this process."""

    Process = _Process


def _begin(prepare: Callable[..., object], *arguments: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
