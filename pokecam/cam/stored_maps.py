"""Maps of many images as they lie on disk. numpy only, for the report runs no network."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class StoredMaps:
    """The raw maps of one method: (N, C, h, w), or (N, 1, h, w) where one map is for all classes.

    Args:
        values: the array, memory-mapped or not.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @classmethod
    def open(cls, folder: Path, method: str) -> "StoredMaps":
        """Open `<method>.npy` in a folder that the `cam` stage wrote; maps are read when used."""
        return cls(np.load(folder / f"{method}.npy", mmap_mode="r"))

    def __len__(self) -> int:
        """The number of images."""
        return len(self.values)

    @property
    def shared(self) -> bool:
        """Whether each image has one map for all classes."""
        return self.values.shape[1] == 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a map."""
        _, _, height, width = self.values.shape
        return height, width

    def of(self, rows: int | NDArray[np.intp], class_indices: int | NDArray[np.intp]) -> np.ndarray:
        """Return maps of images for classes, as numpy's indexing combines the two.

        Args:
            rows: the index of an image, or an array of them.
            class_indices: the index of a class, or an array of them.

        Returns:
            (h, w) for two indices, (n, h, w) where either is an array of n.
        """
        class_indices = np.zeros_like(class_indices) if self.shared else np.asarray(class_indices)
        return np.asarray(self.values[rows, class_indices])
