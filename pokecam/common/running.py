"""How a stage or command runs, and how it ends: after an error or a signal, or without its DVC."""

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
DVC_STAGE = "DVC_STAGE"  # an environment variable that DVC sets for the commands of its stages
POLL_EVERY_S = 0.5  # time between two checks whether DVC still runs
TERMINATION_S = 30.0  # time for a stage to end after SIGTERM
OUTPUT_FOLDERS = ("data", "models", "checkpoints", "reports", "explained", "compared")
# Errors whose cause lies in the machine, not in this program.
_MACHINE_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENOSPC)


def run(main: Callable[[], object], *, removes_temporary_files: bool = True) -> None:
    """Run a stage or command.

    An `InputError`, Ctrl-C, SIGTERM, and a machine that cannot read or write end the process with
    one line on stderr and exit code 1. Temporary files of killed processes are removed before. Any
    other exception is a defect of this program and keeps its traceback.

    Args:
        main: the function that does the work.
        removes_temporary_files: False for a command that must not write.

    Raises:
        SystemExit: the work did not succeed, for one of the reasons above.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if removes_temporary_files:
            for folder in OUTPUT_FOLDERS:
                sweep(Path(folder))
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has closed it, as `| head` does
        # Python flushes stdout once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except InputError as error:
        sys.exit("error: " + " ".join(str(error).split()))
    except OSError as error:
        if error.errno not in _MACHINE_ERRORS:
            raise
        origin = error.filename or "this machine"
        sys.exit(f"error: {origin}: {error.strerror}: remove the cause and run again")
    except KeyboardInterrupt as interrupt:
        sys.exit(f"interrupted{f': {interrupt}' if str(interrupt) else ''}")
    finally:
        # One more Ctrl-C while Python and its libraries clean up would print a traceback.
        for number in SIGNALS:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)


@contextmanager
def defer_interrupts() -> Iterator[Callable[[], bool]]:
    """Record Ctrl-C and SIGTERM, so that work can end at a point where nothing is lost.

    A second signal interrupts at once. Only the main thread can handle signals; in another thread
    their handling does not change.

    Yields:
        A function that returns whether a signal has arrived.
    """
    interrupted = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    if threading.current_thread() is not threading.main_thread():
        yield interrupted.is_set
        return
    previous_handlers = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield interrupted.is_set
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def prepare_stage() -> None:
    """Prepare a process that may be a stage. Call it before the imports, which take seconds.

    Idle threads of OpenMP soon sleep, unless the environment says otherwise. By default they spin
    for milliseconds. On two cores, one of which another process uses, all threads would then wait
    for the one that does not run.

    In a process that DVC runs as a stage, Ctrl-C ends it without a traceback from now on. The
    stage also ends if its DVC process is killed; DVC itself would leave it running.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    if DVC_STAGE not in os.environ:
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    dvc = _dvc_process()
    if dvc is not None:
        threading.Thread(target=_end_after, args=(dvc,), daemon=True).start()


def _dvc_process() -> psutil.Process | None:
    """Return the DVC that runs this stage: the nearest ancestor without `DVC_STAGE`.

    There may be a shell or a launcher between it and this process.
    """
    for ancestor in psutil.Process().parents():
        try:
            if DVC_STAGE not in ancestor.environ():
                return ancestor
        except psutil.Error:  # a process of another user
            return None
    return None


def _end_after(process: psutil.Process) -> None:
    """Wait until a process ends, then end this one."""
    while _is_running(process):
        time.sleep(POLL_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(TERMINATION_S)
    os._exit(1)  # SIGTERM had no effect: the main thread runs code that handles no signals


def _is_running(process: psutil.Process) -> bool:
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
