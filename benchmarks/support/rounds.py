"""Timing several functions in turns, so that all of them run on the same machine state."""

import time
from collections.abc import Callable


def in_turns(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run each function once in every round. One round before them only warms up.

    Returns:
        Name → the seconds of its rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds
