"""What all tests share."""

import signal
from pathlib import Path

import hypothesis
import pytest

from pokecam.common.running import SIGNALS
from tests.support.repository import PROJECT, finished, repository  # noqa: F401 (fixtures)

# The same examples every time: a test that fails, fails for whoever looks into it, too.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")

# A run in the background ignores Ctrl-C, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REAL = PROJECT.parent / "shared" / "real"


@pytest.fixture(autouse=True)
def handlers():
    """A command that a test runs in this process ends it for the system, signals included."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real images and weights kept outside the project, where there is one."""
    if not REAL.is_dir():
        pytest.skip("needs ../shared/real (real images, not part of the project)")
    return REAL
