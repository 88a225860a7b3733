"""How a stage or command runs, and how it stops: at an error, when asked, when its DVC has died."""

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from pokecam.common.errors import InputError
from pokecam.common.files import sweep

SIGNALS = (signal.SIGINT, signal.SIGTERM)
DVC_STAGE = "DVC_STAGE"  # set by DVC for the commands of its stages
LOOK_EVERY_S = 0.5
PATIENCE_S = 30.0
WRITTEN = ("data", "models", "checkpoints", "reports", "explained", "compared")
# What a machine refuses, which no program of ours can mend.
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENOSPC)


def run(main: Callable[[], object]) -> None:
    """Run a stage or command: an `InputError` becomes one line on stderr and exit code 1, and so
    do Ctrl-C and SIGTERM, after all temporary files are gone, and a machine that refuses to read
    or write.

    Anything else is a defect of ours and keeps its traceback.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for folder in WRITTEN:
            sweep(Path(folder))
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # who reads what we print has enough, as `| head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        sys.exit(1)
    except InputError as error:
        sys.exit("error: " + " ".join(str(error).split()))
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        where = error.filename or "this machine"
        sys.exit(f"error: {where}: {error.strerror}: make that possible and run again")
    except KeyboardInterrupt as interrupt:
        sys.exit(f"interrupted{f': {interrupt}' if str(interrupt) else ''}")
    finally:
        # What Python and its libraries still tidy up would print a traceback at one more Ctrl-C.
        for number in SIGNALS:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)


@contextmanager
def defer_interrupts() -> Iterator[Callable[[], bool]]:
    """Put off Ctrl-C and SIGTERM: the function given says whether one has come, so that work can
    end where it loses nothing. The second one interrupts at once.

    Outside the main thread, where signals cannot be handled, they are left alone.
    """
    asked = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def prepare_stage() -> None:
    """Prepare a process that DVC runs as a stage, before its imports, which take seconds: Ctrl-C
    ends it without a traceback, and so does the death of its DVC, which, killed outright, leaves
    its stages running.

    Outside a stage only this: threads that have nothing to do soon sleep, unless the environment
    says otherwise. By default those of OpenMP spin for milliseconds, and where something else wants
    one of two cores, all wait for the one that does not run.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    if DVC_STAGE not in os.environ:
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    starter = _starter()
    if starter is not None:
        threading.Thread(target=_end_with, args=(starter,), daemon=True).start()


def _starter() -> psutil.Process | None:
    """The DVC itself: the nearest ancestor that has not been told of a stage. Between us there may
    be a shell or a launcher."""
    for ancestor in psutil.Process().parents():
        try:
            if DVC_STAGE not in ancestor.environ():
                return ancestor
        except psutil.Error:  # somebody else's
            return None
    return None


def _end_with(process: psutil.Process) -> None:
    while _alive(process):
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_S)
    os._exit(1)  # busy with something that takes no signals


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def usable_cores() -> int:
    """Return the number of cores that this process may run on.

    In a container these can be fewer than the machine has.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
