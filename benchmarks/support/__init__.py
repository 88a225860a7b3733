"""What several benchmarks share. To import it makes the packages of the project importable."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
