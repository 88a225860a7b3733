"""Dividing the images into train, val and test: by class, near-duplicates kept together."""

import hashlib
from collections import Counter
from collections.abc import Mapping
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
LEFT_OUT = "left out"  # of all three: `make_split` never says so, but whoever edits split.csv may
_Fraction = Annotated[float, Field(gt=0, lt=1)]


class SplitSettings(Settings):
    """What `make_split` reads of params.yaml."""

    val_fraction: _Fraction
    test_fraction: _Fraction
    split_seed: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class _Group:
    """Images that must stay together: how many of each class."""

    files: list[str]
    counts: Mapping[str, int]


def make_split(
    manifest: pd.DataFrame, *, val_fraction: float, test_fraction: float, seed: int
) -> pd.DataFrame:
    """Return file, label, subset (train, val or test) in the order of the manifest.

    `manifest` has the columns file, label, group. Every class is in every subset, a group is in
    one subset only, and each class is divided by the fractions as nearly as its groups allow. The
    result follows from the seed and the files alone, not from the order of the rows or the
    numbers of the groups, and an image more or less moves few others.

    Raises `InputError` if the fractions leave nothing to train on, or a class has too few
    groups to be in every subset.
    """
    if val_fraction + test_fraction >= 1:
        raise InputError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} leave nothing to train "
            "on: together they must be less than 1"
        )
    groups = [
        _Group(sorted(members.file), Counter(members.label))
        for _, members in manifest.groupby("group")
    ]
    _check_enough(groups)
    # Large groups first, while every subset still has room; chance, from the seed, among equals.
    groups.sort(
        key=lambda group: (-len(group.counts), -len(group.files), _chance(seed, group.files[0]))
    )
    subset_of = _deal(groups, _wanted(manifest, val_fraction, test_fraction))
    subsets = [subset_of[file] for file in manifest.file]
    _check_present(manifest.label, subsets)
    return pd.DataFrame({"file": manifest.file, "label": manifest.label, "subset": subsets})


def read_split(path: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return file, label, subset of the split in the file `path`, in the order of the manifest.

    The file may have been edited and committed by hand (`dvc commit`), and its rows may have any
    order. `manifest` has the columns file, label. Raises `InputError` unless every image of the
    manifest is there once, with its label and one of train, val, test or "left out", and every
    class is in train, val and test.
    """
    found = read_foreign(path.read_bytes(), str(path), ["file", "label", "subset"])
    for fault in (_unknown_subset(found), _other_images(found, manifest), _absent(found)):
        if fault:
            raise InputError(f"{path}: {fault}: correct it, or make it anew: dvc repro -f split")
    subset_of = dict(zip(found.file, found.subset, strict=True))
    subsets = [subset_of[file] for file in manifest.file]
    return pd.DataFrame({"file": manifest.file, "label": manifest.label, "subset": subsets})


def subset_rows(split: pd.DataFrame, subset: str) -> np.ndarray:
    """Return the row numbers (n,), ascending, of one subset: train, val or test."""
    if subset not in SUBSETS:
        raise ValueError(f"{subset!r} is not one of {SUBSETS}")
    return np.flatnonzero(split.subset == subset)


def _unknown_subset(found: pd.DataFrame) -> str | None:
    known = (*SUBSETS, LEFT_OUT)
    for file, subset in zip(found.file, found.subset, strict=True):
        if subset not in known:
            return (
                f"{file} is in subset {subset!r}, which is none of {', '.join(known)}."
                f"{did_you_mean(subset, known)}"
            )
    return None


def _other_images(found: pd.DataFrame, manifest: pd.DataFrame) -> str | None:
    """What is wrong with the images it names, or None."""
    label_of = dict(zip(manifest.file, manifest.label, strict=True))
    seen = set()
    for file, label in zip(found.file, found.label, strict=True):
        if file not in label_of:
            return f"{file!r} is none of the images in data/images/manifest.csv"
        if file in seen:
            return f"{file} is there twice"
        if label != label_of[file]:
            return f"{file} has the label {label!r}, its class is {label_of[file]}"
        seen.add(file)
    for file in manifest.file:
        if file not in seen:
            return f"{file} is missing"
    return None


def _absent(found: pd.DataFrame) -> str | None:
    present = set(zip(found.label, found.subset, strict=True))
    for label in sorted(set(found.label)):
        for subset in SUBSETS:
            if (label, subset) not in present:
                return f"class {label} has no image in subset {subset}"
    return None


def _wanted(
    manifest: pd.DataFrame, val_fraction: float, test_fraction: float
) -> dict[str, Counter[str]]:
    """Part → class → how many images it should get, at least one."""
    wanted: dict[str, Counter[str]] = {subset: Counter() for subset in SUBSETS}
    for label, count in Counter(manifest.label).items():
        val = max(1, round(val_fraction * count))
        test = max(1, round(test_fraction * count))
        while val + test >= count:  # a tiny class and large fractions: leave one to train on
            val, test = (val - 1, test) if val > test else (val, test - 1)
        wanted["train"][label] = count - val - test
        wanted["val"][label] = val
        wanted["test"][label] = test
    return wanted


def _deal(groups: list[_Group], wanted: dict[str, Counter[str]]) -> dict[str, str]:
    """Give each group to the subset that still wants most of its classes; return file → subset."""
    lacking = {subset: Counter(counts) for subset, counts in wanted.items()}
    without = {label: set(SUBSETS) for group in groups for label in group.counts}
    groups_left = Counter(label for group in groups for label in group.counts)
    subset_of: dict[str, str] = {}
    for group in groups:
        # A class with no group to spare goes where it is not yet.
        pressing = [
            without[label] for label in group.counts if groups_left[label] <= len(without[label])
        ]
        allowed = set.intersection(*pressing) if pressing else set()
        subset = max(
            [subset for subset in SUBSETS if subset in allowed] or SUBSETS,
            key=lambda subset: sum(n * lacking[subset][label] for label, n in group.counts.items()),
        )
        for label, count in group.counts.items():
            lacking[subset][label] -= count
            groups_left[label] -= 1
            without[label].discard(subset)
        subset_of |= dict.fromkeys(group.files, subset)
    return subset_of


def _chance(seed: int, file: str) -> bytes:
    """A number that looks random, and stays the same when other files come or go."""
    return hashlib.sha256(f"{seed} {file}".encode()).digest()


def _check_enough(groups: list[_Group]) -> None:
    group_counts = Counter(label for group in groups for label in group.counts)
    for label, count in sorted(group_counts.items()):
        if count < len(SUBSETS):
            images = sum(group.counts.get(label, 0) for group in groups)
            raise InputError(
                f"class {label} has {images} usable images in {count} groups of "
                f"near-duplicates, at least {len(SUBSETS)} groups are needed, one each to train, "
                f"validate and test: add images or take {label} out of `classes`"
            )


def _check_present(labels: pd.Series, subsets: list[str]) -> None:
    """Groups that span classes can, in contrived cases, leave a class out of a subset."""
    present = set(zip(labels, subsets, strict=True))
    for label in sorted(set(labels)):
        for subset in SUBSETS:
            if (label, subset) not in present:
                raise InputError(
                    f"class {label} cannot be in {subset} without dividing near-duplicates: add "
                    f"images or take {label} out of `classes`"
                )
