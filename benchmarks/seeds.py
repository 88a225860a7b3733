"""Do the intervals over trainings hold for other seeds?

    dvc exp run --queue -n seed -S 'seed=range(1,26)'
    dvc queue start
    python benchmarks/seeds.py 'seed-*'

Takes five trainings as `compare` takes a group, and checks its intervals on all other trainings:
how many of their figures lie in the interval of a further training, and how often the interval of
the mean has the mean of all trainings. Prints this for the first five, and the mean over random
fives, for every metric and measure of `compare`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pokecam.commands.compare.groups import read_groups
from pokecam.commands.compare.trainings import figures, spread

N_STATED = 5  # trainings that the intervals are computed from
N_DRAWS = 500
SEED = 0

Floats = NDArray[np.float64]


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("group", help="names of experiments, as in `python -m pokecam compare`")
    groups = read_groups([parser.parse_args().group], Path())
    n_trainings = len(groups[0].experiments)
    if n_trainings < 2 * N_STATED:
        raise SystemExit(f"{n_trainings} trainings; at least {2 * N_STATED} are needed")
    rng = np.random.default_rng(SEED)
    draws = [rng.permutation(n_trainings) for _ in range(N_DRAWS)]
    print(f"{n_trainings} trainings: {N_STATED} for the intervals, the others to check them")
    print("figure: first five: further in interval | random fives: further, mean in interval")
    rows = [
        (title, *coverage(values[0], [np.arange(n_trainings)]), *coverage(values[0], draws))
        for title, _, values in figures(groups)
    ]
    for title, *shares in rows:
        print(f"{title}: {shares[0]:.2f} | {shares[2]:.3f}, {shares[3]:.3f}")
    means = np.nanmean(np.array([shares for _, *shares in rows]), axis=0)
    print(f"mean of {len(rows)} figures: {means[0]:.3f} | {means[2]:.3f}, {means[3]:.3f}")


def coverage(values: Floats, orders: list[NDArray[np.intp]]) -> tuple[float, float]:
    """Return how often intervals of the first trainings hold for the others.

    Args:
        values: (n,) a figure of every training.
        orders: permutations of the trainings.

    Returns:
        The share of the other trainings that lie in the interval of a further one, and the share of
        orders whose interval of the mean has the mean of all; NaN without any interval.
    """
    shares = np.array(list(_shares(values, orders)))
    if not len(shares):
        return float("nan"), float("nan")
    further, mean = shares.mean(axis=0)
    return float(further), float(mean)


def _shares(values: Floats, orders: list[NDArray[np.intp]]) -> Iterator[tuple[float, bool]]:
    for order in orders:
        stated, other = values[order[:N_STATED]], values[order[N_STATED:]]
        interval = spread(stated)
        if np.isnan(interval.low):
            continue  # equal figures have no interval
        is_inside = (interval.next_low <= other) & (other <= interval.next_high)
        yield float(is_inside.mean()), bool(interval.low <= values.mean() <= interval.high)


if __name__ == "__main__":
    main()
