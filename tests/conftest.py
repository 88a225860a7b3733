"""What all tests share."""

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
REAL = PROJECT.parent / "shared" / "real"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real pictures and weights kept outside the project, where there is one."""
    if not REAL.is_dir():
        pytest.skip("needs ../shared/real (real pictures, not part of the project)")
    return REAL
