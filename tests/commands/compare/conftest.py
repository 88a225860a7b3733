"""Packed images for the tests of this folder."""

import numpy as np
import pandas as pd
import pytest

from pokecam.data.packed.images import Packed
from tests.commands.compare.experiment import CLASSES, FILES


@pytest.fixture(scope="module")
def packed():
    rng = np.random.default_rng(0)
    manifest = pd.DataFrame({"file": FILES, "label": np.repeat(CLASSES, 6)})
    pixels = rng.integers(0, 256, (12, 48, 48, 3), dtype=np.uint8)
    return {"def": Packed(pixels, manifest, CLASSES, None, None, None, None)}
