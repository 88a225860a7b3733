"""Dividing the images into training, validation and test sets.

Every class is divided, and near-duplicates stay in the same subset. `split_file` reads the file in
which a user fixes the subset of some or all images.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import Settings
from pokecam.data.packed.csv_tables import read_foreign

COLUMNS = ("file", "label", "subset")  # of a split
SUBSETS = ("train", "val", "test")
# An image in no subset. `make_split` writes this only for an image that `split_file` leaves out.
LEFT_OUT = "left out"
_Fraction = Annotated[float, Field(gt=0, lt=1)]


class SplitSettings(Settings):
    """The parameters of `split`."""

    split_file: Annotated[str, Field(min_length=1)]
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
    manifest: pd.DataFrame,
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    fixed: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """Divide the images into subsets.

    Every class is in every subset, a group of near-duplicates is in one subset only, and each class
    is divided by the fractions as closely as its groups allow. The result depends on the seed, the
    files, and which files are grouped. It does not depend on the order of the rows or on the
    numbers of the groups. One image more or less moves few other images.

    Fixed images keep their subset. Near-duplicates of a fixed image go to its subset, unless it is
    left out. The remaining images fill the subsets of their class up to the fractions; if a subset
    has more fixed images than its fraction, the others share the rest in proportion.

    Args:
        manifest: file, label, group.
        val_fraction: the fraction of each class for the validation set.
        test_fraction: the fraction of each class for the test set.
        seed: decides between groups of the same size.
        fixed: file → train, val, test or "left out", of the images that are fixed.

    Returns:
        file, label, subset, in the order of the manifest. Only images that `fixed` leaves out are
        "left out".

    Raises:
        InputError: the fractions leave no training images, or a class has too few groups to be in
            every subset.
    """
    check_fractions(val_fraction, test_fraction)
    fixed = _with_near_duplicates(fixed, manifest)
    placed = {subset: Counter[str]() for subset in SUBSETS}
    for file, label in zip(manifest.file, manifest.label, strict=True):
        if fixed.get(file) in SUBSETS:
            placed[fixed[file]][label] += 1
    remaining = manifest[~manifest.file.isin(fixed)]
    groups = [
        _Group(sorted(members.file), Counter(members.label))
        for _, members in remaining.groupby("group")
    ]
    _check_group_counts(groups, placed, manifest)
    # Large groups come first, while every subset still has room. The seed orders equal groups.
    groups.sort(
        key=lambda group: (-len(group.counts), -len(group.files), _sort_key(seed, group.files[0]))
    )
    n_used = Counter(manifest.label[manifest.file.map(fixed.get) != LEFT_OUT])
    targets = _target_counts(n_used, val_fraction, test_fraction)
    subset_of = dict(fixed) | _assign_subsets(groups, _lacking_counts(targets, placed), placed)
    subsets = [subset_of[file] for file in manifest.file]
    # Groups that span classes can, in contrived cases, leave a subset without a class.
    if pair := missing_pair(manifest.label, subsets):
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
    """Read and check the split that the stage `split` wrote.

    Args:
        path: a csv with the columns file, label, subset, and its rows in any order.
        manifest: file, label.

    Returns:
        file, label, subset, in the order of the manifest.

    Raises:
        InputError: the file is damaged or was edited so that it does not fit: an image of the
            manifest is missing or occurs twice, has another label, or is in none of train, val,
            test and "left out"; an image is not in the manifest; or a class is missing from the
            training, the validation or the test set.
    """
    split = read_foreign(path.read_bytes(), str(path), COLUMNS)
    fault = row_fault(split, manifest) or _missing_fault(split, manifest) or _class_fault(split)
    if fault:
        raise InputError(
            f"{path}: {fault}: this output of the stage split was edited or damaged: bring it back "
            f"with `dvc checkout {path.as_posix()}`; your own split belongs into `split_file`"
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


def row_fault(split: pd.DataFrame, manifest: pd.DataFrame) -> str | None:
    """Describe the first row of a split that cannot be right, or return None.

    Args:
        split: file, label, subset, of some or all images.
        manifest: file, label.

    Returns:
        A sentence without its full stop: the subset does not exist, the image is not in the
        manifest or occurs twice, or it has another label.
    """
    allowed = (*SUBSETS, LEFT_OUT)
    label_of = dict(zip(manifest.file, manifest.label, strict=True))
    files = set()
    for file, label, subset in split.itertuples(index=False):
        if subset not in allowed:
            return (
                f"{file} is in subset {subset!r}, which is none of {', '.join(allowed)}."
                f"{did_you_mean(subset, allowed)}"
            ).removesuffix(".")
        if file not in label_of:
            return _unknown_file(file, label, manifest)
        if file in files:
            return f"{file} is there twice"
        if label != label_of[file]:
            return f"{file} has the label {label!r}, its class is {label_of[file]}"
        files.add(file)
    return None


def _unknown_file(file: str, label: str, manifest: pd.DataFrame) -> str:
    """Describe a file that is not in the manifest."""
    classes = sorted(set(manifest.label))
    if label not in classes:
        return (
            f"{file!r} is of class {label!r}, which is not among the chosen classes."
            f"{did_you_mean(label, classes)}"
        ).removesuffix(".")
    return (
        f"{file!r} is none of the images in data/images/manifest.csv (those that cannot be used "
        f"are in data/images/quarantine.csv).{did_you_mean(file, manifest.file)}"
    ).removesuffix(".")


def _missing_fault(split: pd.DataFrame, manifest: pd.DataFrame) -> str | None:
    """Describe the first image of the manifest that the split lacks, or return None."""
    files = set(split.file)
    return next((f"{file} is missing" for file in manifest.file if file not in files), None)


def _class_fault(split: pd.DataFrame) -> str | None:
    """Describe the first class that is missing from a subset, or return None."""
    if pair := missing_pair(split.label, split.subset):
        return f"class {pair[0]} has no image in subset {pair[1]}"
    return None


def missing_pair(labels: pd.Series, subsets: Iterable[str]) -> tuple[str, str] | None:
    """Return the first class and a subset without images of it, or None if there is no such.

    Args:
        labels: of N images.
        subsets: of the N images.
    """
    present = set(zip(labels, subsets, strict=True))
    for label in sorted(set(labels)):
        for subset in SUBSETS:
            if (label, subset) not in present:
                return label, subset
    return None


def _with_near_duplicates(fixed: Mapping[str, str], manifest: pd.DataFrame) -> dict[str, str]:
    """Add the near-duplicates of images that are fixed in a training, validation or test set.

    They go where most of their group are fixed. Near-duplicates of an image that is left out stay
    free: leaving one copy out says nothing about the others.
    """
    completed = dict(fixed)
    groups = set(manifest.group[manifest.file.isin(fixed)])
    for _, files in manifest[manifest.group.isin(groups)].groupby("group").file:
        counts = Counter(fixed[file] for file in files if fixed.get(file) in SUBSETS)
        if counts:
            subset = max(SUBSETS, key=lambda subset: counts[subset])
            for file in files:
                completed.setdefault(file, subset)
    return completed


def _target_counts(
    class_sizes: Mapping[str, int], val_fraction: float, test_fraction: float
) -> dict[str, Counter[str]]:
    """Return subset → class → how many images it should get, at least one."""
    targets: dict[str, Counter[str]] = {subset: Counter() for subset in SUBSETS}
    for label, count in class_sizes.items():
        val = max(1, round(val_fraction * count))
        test = max(1, round(test_fraction * count))
        while val + test >= count:  # a tiny class and large fractions: keep one image for training
            val, test = (val - 1, test) if val > test else (val, test - 1)
        targets["train"][label] = count - val - test
        targets["val"][label] = val
        targets["test"][label] = test
    return targets


def _lacking_counts(
    targets: Mapping[str, Counter[str]], placed: Mapping[str, Counter[str]]
) -> dict[str, Counter[str]]:
    """Return subset → class → how many of the remaining images it should get.

    Where a subset has more fixed images than its target, the other two lack more than there is, and
    get their share of it.
    """
    lacking: dict[str, Counter[str]] = {subset: Counter() for subset in SUBSETS}
    for label in targets["train"]:
        counts = [max(0, targets[subset][label] - placed[subset][label]) for subset in SUBSETS]
        remaining = sum(targets[subset][label] - placed[subset][label] for subset in SUBSETS)
        shares = [round(count * remaining / max(1, sum(counts))) for count in counts]
        # Rounding may leave an image over, or take one too many.
        shares[counts.index(max(counts))] += remaining - sum(shares)
        for subset, share in zip(SUBSETS, shares, strict=True):
            lacking[subset][label] = share
    return lacking


def _assign_subsets(
    groups: list[_Group],
    lacking: dict[str, Counter[str]],
    placed: Mapping[str, Counter[str]],
) -> dict[str, str]:
    """Assign each group to the subset that lacks most images of its classes.

    Args:
        groups: the groups to assign, in this order.
        lacking: subset → class → how many images it should get. It is changed.
        placed: subset → class → how many images it has already.

    Returns:
        File → subset.
    """
    n_remaining = Counter(label for group in groups for label in group.counts)  # groups of a class
    absent_from = {
        label: {subset for subset in SUBSETS if not placed[subset][label]} for label in n_remaining
    }
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


def _check_group_counts(
    groups: list[_Group], placed: Mapping[str, Counter[str]], manifest: pd.DataFrame
) -> None:
    """Check that every class has a group for each subset in which no image of it is fixed."""
    group_counts = Counter(label for group in groups for label in group.counts)
    for label in sorted(set(manifest.label)):
        absent = [subset for subset in SUBSETS if not placed[subset][label]]
        if group_counts[label] >= len(absent):
            continue
        if absent == list(SUBSETS) and group_counts[label]:
            n_images = sum(group.counts.get(label, 0) for group in groups)
            raise InputError(
                f"class {label} has {n_images} usable images in {group_counts[label]} groups of "
                f"near-duplicates, at least {len(SUBSETS)} groups are needed, one for each of the "
                f"training, validation and test sets: add images or take {label} out of `classes`"
            )
        raise InputError(
            f"split_file leaves class {label} without images in subset {absent[0]}: list some of "
            "them there, or remove rows of this class, which are then divided by the fractions"
        )
