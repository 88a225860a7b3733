"""How stages and commands end: errors, signals, a reader that closes the output."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pokecam.common.errors import InputError
from pokecam.common.running import defer_interrupts, run
from tests.conftest import PROJECT


def test_input_error_is_one_line_and_exit_code_one(capsys):
    def main():
        raise InputError("first\n  second")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == "error: first second"


def test_defects_keep_their_traceback():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_a_machine_that_refuses_is_told_in_one_line(tmp_path):
    def main():
        raise PermissionError(errno.EACCES, "Permission denied", "data/split.csv")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == (
        "error: data/split.csv: Permission denied: remove the cause and run again"
    )


def test_a_reader_that_has_enough_is_no_defect():
    program = (
        "from pokecam.common.running import run; "
        "run(lambda: [print('x' * 99) for _ in range(9999)])"
    )
    for lines in (0, 1):
        pipe = f'{sys.executable} -c "{program}" | head -n {lines}'
        result = subprocess.run(["bash", "-c", pipe], cwd=PROJECT, capture_output=True, text=True)
        assert result.stdout == "x" * 99 * lines + "\n" * lines
        assert result.stderr == ""


PROGRAM = """
import atexit, sys, time
from pathlib import Path
from pokecam.common.files import whole_file
from pokecam.common.running import run, defer_interrupts
def plain():
    with whole_file(Path("out")):
        print("ready", flush=True)
        time.sleep(60)
def patient():
    with defer_interrupts() as is_interrupted:
        print("ready", flush=True)
        while not is_interrupted():
            time.sleep(0.01)
        print("interrupted", flush=True)
        if "again" in sys.argv:
            time.sleep(60)
def tidying():
    atexit.register(time.sleep, 60)
    print("ready", flush=True)
run(globals()[sys.argv[1]])
"""


def start(folder, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_stage_in_one_line_and_leaves_no_temporary_file(tmp_path, number):
    process = start(tmp_path, "plain")
    process.send_signal(number)
    assert process.communicate(timeout=30)[1] == "interrupted\n"
    assert process.returncode == 1
    assert not list(tmp_path.iterdir())


def test_patient_work_ends_by_itself_and_a_second_signal_ends_it_at_once(tmp_path):
    process = start(tmp_path, "patient")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("interrupted\n", "")
    assert process.returncode == 0
    process = start(tmp_path, "patient", "again")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == "interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_python_tidies_up_ends_it_without_a_traceback(tmp_path, number):
    process = start(tmp_path, "tidying")
    time.sleep(0.3)
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == -number


def test_signals_are_handled_as_before_when_the_work_is_done():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with defer_interrupts() as is_interrupted:
        assert not is_interrupted()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_in_another_thread_nobody_is_asked():
    answers = []

    def work():
        with defer_interrupts() as is_interrupted:
            answers.append(is_interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]
