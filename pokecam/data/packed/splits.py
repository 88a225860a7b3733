"""Dividing the pictures into train, val and test: by class, near-duplicates kept together."""

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

PARTS = ("train", "val", "test")
LEFT_OUT = "left out"  # of all three: `make_split` never says so, but whoever edits split.csv may
_Fraction = Annotated[float, Field(gt=0, lt=1)]


class SplitSettings(Settings):
    """What `make_split` reads of params.yaml."""

    val_fraction: _Fraction
    test_fraction: _Fraction
    split_seed: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class _Group:
    """Pictures that must stay together: how many of each class."""

    files: list[str]
    counts: Mapping[str, int]


def make_split(
    manifest: pd.DataFrame, *, val_fraction: float, test_fraction: float, seed: int
) -> pd.DataFrame:
    """Return file, label, part (train, val or test) in the order of the manifest.

    `manifest` has the columns file, label, group. Every class is in every part, a group is in
    one part only, and each class is divided by the fractions as nearly as its groups allow. The
    result follows from the seed and the files alone, not from the order of the rows or the
    numbers of the groups, and a picture more or less moves few others.

    Raises `InputError` if the fractions leave nothing to train on, or a class has too few
    groups to be in every part.
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
    # Large groups first, while every part still has room; chance, from the seed, among equals.
    groups.sort(
        key=lambda group: (-len(group.counts), -len(group.files), _chance(seed, group.files[0]))
    )
    part_of = _deal(groups, _wanted(manifest, val_fraction, test_fraction))
    parts = [part_of[file] for file in manifest.file]
    _check_present(manifest.label, parts)
    return pd.DataFrame({"file": manifest.file, "label": manifest.label, "part": parts})


def read_split(path: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return file, label, part of the split in the file `path`, in the order of the manifest.

    The file may have been edited and committed by hand (`dvc commit`), and its rows may have any
    order. `manifest` has the columns file, label. Raises `InputError` unless every picture of the
    manifest is there once, with its label and one of train, val, test or "left out", and every
    class is in train, val and test.
    """
    found = read_foreign(path.read_bytes(), str(path), ["file", "label", "part"])
    for fault in (_unknown_part(found), _other_pictures(found, manifest), _absent(found)):
        if fault:
            raise InputError(f"{path}: {fault}: correct it, or make it anew: dvc repro -f split")
    part_of = dict(zip(found.file, found.part, strict=True))
    parts = [part_of[file] for file in manifest.file]
    return pd.DataFrame({"file": manifest.file, "label": manifest.label, "part": parts})


def subset_rows(split: pd.DataFrame, part: str) -> np.ndarray:
    """Return the row numbers (n,), ascending, of one part: train, val or test."""
    if part not in PARTS:
        raise ValueError(f"{part!r} is not one of {PARTS}")
    return np.flatnonzero(split.part == part)


def _unknown_part(found: pd.DataFrame) -> str | None:
    known = (*PARTS, LEFT_OUT)
    for file, part in zip(found.file, found.part, strict=True):
        if part not in known:
            return (
                f"{file} is in part {part!r}, which is none of {', '.join(known)}."
                f"{did_you_mean(part, known)}"
            )
    return None


def _other_pictures(found: pd.DataFrame, manifest: pd.DataFrame) -> str | None:
    """What is wrong with the pictures it names, or None."""
    label_of = dict(zip(manifest.file, manifest.label, strict=True))
    seen = set()
    for file, label in zip(found.file, found.label, strict=True):
        if file not in label_of:
            return f"{file!r} is none of the pictures in data/images/manifest.csv"
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
    present = set(zip(found.label, found.part, strict=True))
    for label in sorted(set(found.label)):
        for part in PARTS:
            if (label, part) not in present:
                return f"class {label} has no picture in part {part}"
    return None


def _wanted(
    manifest: pd.DataFrame, val_fraction: float, test_fraction: float
) -> dict[str, Counter[str]]:
    """Part → class → how many pictures it should get, at least one."""
    wanted: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
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
    """Give each group to the part that still wants most of its classes; return file → part."""
    lacking = {part: Counter(counts) for part, counts in wanted.items()}
    without = {label: set(PARTS) for group in groups for label in group.counts}
    groups_left = Counter(label for group in groups for label in group.counts)
    part_of: dict[str, str] = {}
    for group in groups:
        # A class with no group to spare goes where it is not yet.
        pressing = [
            without[label] for label in group.counts if groups_left[label] <= len(without[label])
        ]
        allowed = set.intersection(*pressing) if pressing else set()
        part = max(
            [part for part in PARTS if part in allowed] or PARTS,
            key=lambda part: sum(n * lacking[part][label] for label, n in group.counts.items()),
        )
        for label, count in group.counts.items():
            lacking[part][label] -= count
            groups_left[label] -= 1
            without[label].discard(part)
        part_of |= dict.fromkeys(group.files, part)
    return part_of


def _chance(seed: int, file: str) -> bytes:
    """A number that looks random, and stays the same when other files come or go."""
    return hashlib.sha256(f"{seed} {file}".encode()).digest()


def _check_enough(groups: list[_Group]) -> None:
    group_counts = Counter(label for group in groups for label in group.counts)
    for label, count in sorted(group_counts.items()):
        if count < len(PARTS):
            pictures = sum(group.counts.get(label, 0) for group in groups)
            raise InputError(
                f"class {label} has {pictures} usable pictures in {count} groups of "
                f"near-duplicates, at least {len(PARTS)} groups are needed, one each to train, "
                f"validate and test: add pictures or take {label} out of `classes`"
            )


def _check_present(labels: pd.Series, parts: list[str]) -> None:
    """Groups that span classes can, in contrived cases, leave a class out of a part."""
    present = set(zip(labels, parts, strict=True))
    for label in sorted(set(labels)):
        for part in PARTS:
            if (label, part) not in present:
                raise InputError(
                    f"class {label} cannot be in {part} without dividing near-duplicates: add "
                    f"pictures or take {label} out of `classes`"
                )
