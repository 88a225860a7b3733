"""Dividing the images into training, validation and test sets.

Every class is divided, and near-duplicates stay in the same subset.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import Settings
from pokecam.data.packed.csv_tables import read_foreign

SUBSETS = ("train", "val", "test")
# An image in no subset. `make_split` never writes this, but a user who edits split.csv may.
LEFT_OUT = "left out"
_Fraction = Annotated[float, Field(gt=0, lt=1)]


class SplitSettings(Settings):
    """The parameters of `split`."""

    val_fraction: _Fraction
    test_fraction: _Fraction
    split_seed: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class _Group:
    """Near-duplicates, which must stay in one subset.

    Attributes:
        files: their names, sorted.
        counts: class → how many of these images it has.
    """

    files: list[str]
    counts: Mapping[str, int]


def make_split(
    manifest: pd.DataFrame, *, val_fraction: float, test_fraction: float, seed: int
) -> pd.DataFrame:
    """Divide the images into subsets.

    Every class is in every subset, a group of near-duplicates is in one subset only, and each class
    is divided by the fractions as closely as its groups allow. The result depends on the seed, the
    files, and which files are grouped. It does not depend on the order of the rows or on the
    numbers of the groups. One image more or less moves few other images.

    Args:
        manifest: file, label, group.
        val_fraction: the fraction of each class for the validation set.
        test_fraction: the fraction of each class for the test set.
        seed: decides between groups of the same size.

    Returns:
        file, label, subset (train, val or test), in the order of the manifest.

    Raises:
        InputError: the fractions leave no training images, or a class has too few groups to be in
            every subset.
    """
    check_fractions(val_fraction, test_fraction)
    groups = [
        _Group(sorted(members.file), Counter(members.label))
        for _, members in manifest.groupby("group")
    ]
    _check_group_counts(groups)
    # Large groups come first, while every subset still has room. The seed orders equal groups.
    groups.sort(
        key=lambda group: (-len(group.counts), -len(group.files), _sort_key(seed, group.files[0]))
    )
    subset_of = _assign_subsets(groups, _target_counts(manifest, val_fraction, test_fraction))
    subsets = [subset_of[file] for file in manifest.file]
    # Groups that span classes can, in contrived cases, leave a subset without a class.
    if pair := _missing_pair(manifest.label, subsets):
        label, subset = pair
        raise InputError(
            f"class {label} cannot be in {subset} without dividing near-duplicates: add images or "
            f"take {label} out of `classes`"
        )
    return pd.DataFrame({"file": manifest.file, "label": manifest.label, "subset": subsets})


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Check that the fractions of the validation and the test set leave images to train on.

    Raises:
        InputError: they do not.
    """
    if val_fraction + test_fraction >= 1:
        raise InputError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to train "
            "on: together they must be less than 1"
        )


def read_split(path: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """Read and check a split, which a user may have edited and committed (`dvc commit`).

    Args:
        path: a csv with the columns file, label, subset, and its rows in any order.
        manifest: file, label.

    Returns:
        file, label, subset, in the order of the manifest.

    Raises:
        InputError: an image of the manifest is missing or occurs twice, has another label, or is in
            none of train, val, test and "left out"; an image is not in the manifest; or a class is
            missing from the training, the validation or the test set.
    """
    split = read_foreign(path.read_bytes(), str(path), ["file", "label", "subset"])
    fault = _subset_fault(split) or _image_fault(split, manifest) or _class_fault(split)
    if fault:
        raise InputError(
            f"{path}: {fault}: correct the file, or write a new one with dvc repro -f split"
        )
    subset_of = dict(zip(split.file, split.subset, strict=True))
    subsets = [subset_of[file] for file in manifest.file]
    return pd.DataFrame({"file": manifest.file, "label": manifest.label, "subset": subsets})


def subset_rows(split: pd.DataFrame, subset: str) -> np.ndarray:
    """Return the rows of the images of one subset.

    Args:
        split: the split, in the order of the packed images.
        subset: train, val or test.

    Returns:
        (n,) int, ascending.
    """
    if subset not in SUBSETS:
        raise ValueError(f"{subset!r} is not one of {SUBSETS}")
    return np.flatnonzero(split.subset == subset)


def _subset_fault(split: pd.DataFrame) -> str | None:
    """Describe the first subset that does not exist, or return None."""
    allowed = (*SUBSETS, LEFT_OUT)
    for file, subset in zip(split.file, split.subset, strict=True):
        if subset not in allowed:
            return (
                f"{file} is in subset {subset!r}, which is none of {', '.join(allowed)}."
                f"{did_you_mean(subset, allowed)}"
            )
    return None


def _image_fault(split: pd.DataFrame, manifest: pd.DataFrame) -> str | None:
    """Describe the first image of the split that does not agree with the manifest, or return
    None."""
    label_of = dict(zip(manifest.file, manifest.label, strict=True))
    files = set()
    for file, label in zip(split.file, split.label, strict=True):
        if file not in label_of:
            return f"{file!r} is none of the images in data/images/manifest.csv"
        if file in files:
            return f"{file} is there twice"
        if label != label_of[file]:
            return f"{file} has the label {label!r}, its class is {label_of[file]}"
        files.add(file)
    for file in manifest.file:
        if file not in files:
            return f"{file} is missing"
    return None


def _class_fault(split: pd.DataFrame) -> str | None:
    """Describe the first class that is missing from a subset, or return None."""
    if pair := _missing_pair(split.label, split.subset):
        return f"class {pair[0]} has no image in subset {pair[1]}"
    return None


def _missing_pair(labels: pd.Series, subsets: Iterable[str]) -> tuple[str, str] | None:
    """Return the first class and a subset without images of it, or None if there is no such."""
    present = set(zip(labels, subsets, strict=True))
    for label in sorted(set(labels)):
        for subset in SUBSETS:
            if (label, subset) not in present:
                return label, subset
    return None


def _target_counts(
    manifest: pd.DataFrame, val_fraction: float, test_fraction: float
) -> dict[str, Counter[str]]:
    """Return subset → class → how many images it should get, at least one."""
    targets: dict[str, Counter[str]] = {subset: Counter() for subset in SUBSETS}
    for label, count in Counter(manifest.label).items():
        val = max(1, round(val_fraction * count))
        test = max(1, round(test_fraction * count))
        while val + test >= count:  # a tiny class and large fractions: keep one image for training
            val, test = (val - 1, test) if val > test else (val, test - 1)
        targets["train"][label] = count - val - test
        targets["val"][label] = val
        targets["test"][label] = test
    return targets


def _assign_subsets(groups: list[_Group], targets: dict[str, Counter[str]]) -> dict[str, str]:
    """Assign each group to the subset that lacks most images of its classes.

    Returns:
        File → subset.
    """
    lacking = {subset: Counter(counts) for subset, counts in targets.items()}
    absent_from = {label: set(SUBSETS) for group in groups for label in group.counts}
    n_remaining = Counter(label for group in groups for label in group.counts)  # groups of a class
    subset_of: dict[str, str] = {}
    for group in groups:
        # A class that has no group to spare must go to a subset that lacks it completely.
        required = [
            absent_from[label]
            for label in group.counts
            if n_remaining[label] <= len(absent_from[label])
        ]
        allowed = set.intersection(*required) if required else set()
        subset = max(
            [subset for subset in SUBSETS if subset in allowed] or SUBSETS,
            key=lambda subset: sum(n * lacking[subset][label] for label, n in group.counts.items()),
        )
        for label, count in group.counts.items():
            lacking[subset][label] -= count
            n_remaining[label] -= 1
            absent_from[label].discard(subset)
        subset_of |= dict.fromkeys(group.files, subset)
    return subset_of


def _sort_key(seed: int, file: str) -> bytes:
    """Return a pseudo-random key for a file, which does not depend on the other files."""
    return hashlib.sha256(f"{seed} {file}".encode()).digest()


def _check_group_counts(groups: list[_Group]) -> None:
    """Check that every class has at least one group for each subset."""
    group_counts = Counter(label for group in groups for label in group.counts)
    for label, count in sorted(group_counts.items()):
        if count < len(SUBSETS):
            n_images = sum(group.counts.get(label, 0) for group in groups)
            raise InputError(
                f"class {label} has {n_images} usable images in {count} groups of "
                f"near-duplicates, at least {len(SUBSETS)} groups are needed, one for each of the "
                f"training, validation and test sets: add images or take {label} out of `classes`"
            )
