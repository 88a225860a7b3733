"""The file of `split_file`, in which a user fixes the subset of some or all images."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pokecam.common.errors import InputError
from pokecam.data.packed.csv_tables import read_foreign
from pokecam.data.packed.splits import COLUMNS, SUBSETS, row_fault

log = logging.getLogger(__name__)


def check_split_file(path: Path) -> None:
    """Check that the file of `split_file` is a csv with the columns of a split.

    Raises:
        InputError: it does not exist, is a folder, or has not these columns.
    """
    _read(path)


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(
            f"split_file {path} is not a file: give datasets/split.csv, which fixes nothing, or a "
            f"csv with the columns {', '.join(COLUMNS)}, such as a copy of data/split.csv"
        )
    return read_foreign(path.read_bytes(), f"split_file {path}", COLUMNS)


def read_split_file(path: Path, manifest: pd.DataFrame) -> dict[str, str]:
    """Read and check the subsets that a user has fixed.

    Warnings say how many images are not listed, and how many groups of near-duplicates are in more
    than one subset.

    Args:
        path: a csv with the columns file, label, subset. It may list all images, some, or none.
        manifest: file, label, group.

    Returns:
        File → train, val, test or "left out".

    Raises:
        InputError: the file does not exist or has not these columns, lists an image that is not in
            the manifest, an image twice or with another label, or a subset that does not exist.
    """
    table = _read(path)
    if fault := row_fault(table, manifest):
        raise InputError(f"split_file {path}: {fault}: correct the file")
    fixed = dict(zip(table.file, table.subset, strict=True))
    _warn_of_unlisted_images(path, fixed, manifest)
    _warn_of_divided_groups(path, fixed, manifest)
    return fixed


def _warn_of_unlisted_images(path: Path, fixed: Mapping[str, str], manifest: pd.DataFrame) -> None:
    n_unlisted = len(manifest) - len(fixed)
    if fixed and n_unlisted:
        log.warning(
            "%s lists %d of %d images; the fractions divide the other %d",
            *(path, len(fixed), len(manifest), n_unlisted),
        )


def _warn_of_divided_groups(path: Path, fixed: Mapping[str, str], manifest: pd.DataFrame) -> None:
    subsets = manifest.file.map(fixed.get)
    placed = manifest[subsets.isin(SUBSETS)].assign(subset=subsets)
    n_subsets = placed.groupby("group").subset.nunique()
    divided = n_subsets.index[n_subsets > 1]
    if len(divided):
        log.warning(
            "%s puts near-duplicates into different subsets: %d groups with %d images, listed in "
            "data/images/duplicates.csv. The network may be tested on images that it was trained "
            "on",
            *(path, len(divided), placed.group.isin(divided).sum()),
        )
