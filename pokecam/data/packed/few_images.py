"""Which classes have too few images to be learnt or to be judged."""

import logging
from collections.abc import Mapping

import pandas as pd

# Beside nine classes with 36 training images each, the recall of a class with 4 was 0.47 to 0.88 in
# four trainings of the default network, and with 8 it was 0.80 to 0.97, as with 16 (0.83 to 0.98).
# With 36 it was 0.98 and more (`benchmarks/class_sizes.py`).
FEWEST_TO_LEARN = 8
# If n of n test images are correctly classified, the 95 % interval of recall begins at
# n / (n + 1.96²) (Wilson 1927). With 3 images that is 0.44, with 4 it is 0.51.
FEWEST_TO_JUDGE = 4
MAX_LISTED = 10
_ADVICE = "Add images, or take them out of `classes` (docs/your-own-images.md, Few images)"

log = logging.getLogger(__name__)


def after_selection(counts: Mapping[str, int]) -> list[str]:
    """Say which classes have too few images for any split.

    Args:
        counts: class → its number of usable images.

    Returns:
        A line, or none.
    """
    enough = FEWEST_TO_LEARN + FEWEST_TO_JUDGE + 1
    if classes := _below(enough, counts):
        return [
            f"classes with fewer than {enough} usable images: {classes}. No split gives them "
            f"{FEWEST_TO_LEARN} to learn from, {FEWEST_TO_JUDGE} to be judged by, and 1 for "
            f"validation. {_ADVICE}"
        ]
    return []


def after_split(split: pd.DataFrame) -> list[str]:
    """Say which classes have too few images in the training or in the test set.

    Args:
        split: file, label, subset.

    Returns:
        Up to two lines.
    """
    train, test = (
        {
            label: int((subsets == subset).sum())
            for label, subsets in split.groupby("label", sort=False)["subset"]
        }
        for subset in ("train", "test")
    )
    lines = []
    if classes := _below(FEWEST_TO_LEARN, train):
        lines.append(
            f"classes with fewer than {FEWEST_TO_LEARN} training images: {classes}. They are too "
            f"few to be learnt: expect low recall. {_ADVICE}"
        )
    if classes := _below(FEWEST_TO_JUDGE, test):
        lines.append(
            f"classes with fewer than {FEWEST_TO_JUDGE} test images: {classes}. They are too few "
            "to be judged: even if all are correctly classified, the 95 % interval of recall "
            "begins below 0.5"
        )
    return lines


def warn(lines: list[str]) -> None:
    """Print the lines on stderr, as warnings."""
    for line in lines:
        log.warning("%s", line)


def _below(limit: int, counts: Mapping[str, int]) -> str:
    """List the classes with fewer images than `limit`, the smallest first."""
    few = sorted((count, label) for label, count in counts.items() if count < limit)
    names = [f"{label} ({count})" for count, label in few[:MAX_LISTED]]
    if len(few) > MAX_LISTED:
        names.append(f"and {len(few) - MAX_LISTED} more")
    return ", ".join(names)
