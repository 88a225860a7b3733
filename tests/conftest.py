"""What all tests share."""

from pathlib import Path

import hypothesis
import pytest

from tests.repository import PROJECT, finished, repository  # noqa: F401 (fixtures)

# The same examples every time: a test that fails, fails for whoever looks into it, too.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")

REAL = PROJECT.parent / "shared" / "real"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real pictures and weights kept outside the project, where there is one."""
    if not REAL.is_dir():
        pytest.skip("needs ../shared/real (real pictures, not part of the project)")
    return REAL
