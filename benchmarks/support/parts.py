"""The images whose parts the judge stage of the project's run left out, one after another."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.images import Packed
from pokecam.judging.parts import visible
from support import PROJECT


@dataclass(frozen=True)
class MeasuredImage:
    """An image and what its parts are worth to the network.

    Attributes:
        file: its name in the manifest.
        label: its species.
        row: among the packed images.
        regions: visible part → where it is, bool (S, S).
        importances: (len(regions),), how far the logit falls without each part.
    """

    file: str
    label: str
    row: int
    regions: dict[str, NDArray[np.bool_]]
    importances: NDArray[np.float64]


def measured_images(packed: Packed) -> Iterator[MeasuredImage]:
    """Yield the images of data/judgement/parts.csv, in its order.

    Args:
        packed: the packed images of the run.
    """
    assert packed.masks is not None
    assert packed.parts is not None
    row_of = {file: row for row, file in enumerate(packed.manifest.file)}
    names_of = {
        label: rows.sort_values("index").part.to_list()
        for label, rows in packed.parts.groupby("label")
    }
    table = read_table(PROJECT / "data/judgement/parts.csv")
    for file, rows in table.groupby("file", sort=False):
        name, label = str(file), rows.label.iloc[0]
        regions = visible(packed.masks[row_of[name]], names_of[label])
        assert list(regions) == rows.part.to_list()
        importances = rows["drop"].to_numpy(float)
        yield MeasuredImage(name, label, row_of[name], regions, importances)
