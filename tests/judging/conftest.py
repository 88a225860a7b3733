"""What the tests of judging share."""

import pytest

from pokecam.judging.scores import score
from tests.judging.halves import build_case, settings


@pytest.fixture(scope="module")
def scored():
    """A case and its scores."""
    case = build_case()
    return case, score(case, settings())
