"""Work in other processes: it is done, it ends with this process, and a killed one is said."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pokecam.common.errors import InputError
from pokecam.common.processes import processes
from tests.conftest import PROJECT

_number = 0


def prepare(number):
    global _number
    _number = number


def add(value):
    return _number + value


def kill(_):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(_):
    raise ValueError("in a process")


def test_each_process_is_prepared_and_results_are_in_order():
    with processes(2, prepare, 40) as pool:
        assert [*pool.map(add, range(20), chunksize=3)] == [*range(40, 60)]
    assert _number == 0  # this process is not one of them


def test_an_error_is_that_of_the_function():
    with processes(1, prepare, 0) as pool, pytest.raises(ValueError, match="in a process"):
        pool.submit(fail, 1).result()


def test_a_killed_process_is_one_line():
    expected = pytest.raises(InputError, match="has ended before its work")
    with expected, processes(2, prepare, 0) as pool:
        [*pool.map(kill, range(3))]


def test_what_has_not_begun_is_dropped_at_the_end():
    with pytest.raises(KeyError), processes(1, prepare, 0) as pool:
        futures = [pool.submit(time.sleep, 0.2) for _ in range(1000)]
        raise KeyError
    assert sum(future.cancelled() for future in futures) > 900


# The program imports PyTorch, as a stage does; its processes do not.
SLEEPING = """
import sys, time
import torch
from pokecam.common.processes import processes

with processes(2, exec, "import sys; print('torch' in sys.modules)") as pool:
    for future in [pool.submit(time.sleep, 60) for _ in range(2)]:
        future.result()
"""


def test_processes_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "sleeping.py"
    script.write_text(SLEEPING)
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        [sys.executable, "-u", script], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert [parent.stdout.readline() for _ in range(2)] == ["False\n"] * 2
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
        parent.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
