"""What is judged: a network, its test images, and the maps that were computed of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pokecam.cam.folding import fold_batchnorm
from pokecam.cam.methods import METHODS
from pokecam.cam.stored_maps import StoredMaps
from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.images import Packed
from pokecam.networks import layers
from pokecam.networks.classifier import Classifier

BASELINES = ("random", "centre", "edges")

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Case:
    """N test images and M methods, the baselines last.

    Images of a case are numbered from 0 to N − 1; functions that take `indices` mean these
    numbers, not rows of the packed images.

    Attributes:
        classifier: the trained network.
        layer: the layer that maps are made of, as in `layers.cut_at`.
        packed: the packed images of all subsets.
        rows: (N,) int, the test images among the packed ones.
        predicted: (N,) int, the class whose map is judged.
        maps: method → its maps of the test images, as `select_positive_evidence` selects them.
        lookalikes: groups of look-alikes by class index.
    """

    classifier: Classifier
    layer: str | None
    packed: Packed
    rows: Indices
    predicted: Indices
    maps: Mapping[str, StoredMaps]
    lookalikes: Sequence[Sequence[int]] = ()

    @cached_property
    def network(self) -> Classifier:
        """The same network in a faster form, cut at the layer of the maps."""
        return fold_batchnorm(layers.cut_at(self.classifier, self.layer)).eval()

    @property
    def device(self) -> torch.device:
        """The device that the network is on."""
        return next(self.network.parameters()).device

    @property
    def methods(self) -> list[str]:
        """The compared methods: maps of the network, then the baselines."""
        return [*(name for name in self.maps if name not in BASELINES), *BASELINES]

    @cached_property
    def files(self) -> list[str]:
        """The file of each image."""
        return self.packed.manifest.file.iloc[self.rows].to_list()

    @cached_property
    def labels(self) -> list[str]:
        """The class of each image, by name."""
        return self.packed.manifest.label.iloc[self.rows].to_list()

    @cached_property
    def scene_seeds(self) -> pd.Series:
        """File → the seed of its drawn scene."""
        assert self.packed.scenes is not None
        return self.packed.scenes.set_index("image").seed

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the probabilities (n, C) of network input (n, 3, S, S), on its device."""
        return self.logits(x).softmax(dim=1)

    @torch.inference_mode()
    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (n, C) of network input (n, 3, S, S), on its device."""
        return self.network(x.to(self.device))


def load_case(
    classifier: Classifier,
    packed: Packed,
    rows: Indices,
    lookalikes: Sequence[Sequence[str]],
    evaluation: Path,
    cams: Path,
) -> Case:
    """Collect what is judged from the outputs of the stages.

    Args:
        classifier: the trained network.
        packed: the packed images.
        rows: (N,) int, the test images among them.
        lookalikes: groups of look-alikes by name.
        evaluation: the folder that `evaluate` wrote.
        cams: the folder that `cam` wrote; maps are read when they are used.
    """
    meta = json.loads((cams / "meta.json").read_text(encoding="utf-8"))
    predictions = read_table(evaluation / "predictions.csv")
    predicted = pd.Index(packed.classes).get_indexer(predictions.predicted)
    maps = select_positive_evidence({name: StoredMaps.open(cams, name) for name in meta["methods"]})
    groups = [[packed.classes.index(name) for name in group] for group in lookalikes]
    return Case(classifier, meta["layer"], packed, rows, predicted, maps, groups)


def select_images(labels: Sequence[str], n_images: int) -> Indices:
    """Select the images for the measures that take time.

    Args:
        labels: the class of each of N images.
        n_images: how many are selected at most.

    Returns:
        Ascending indices. Classes take turns while they have images, in the order of the images.
    """
    turn = pd.Series(range(len(labels))).groupby(np.asarray(labels)).cumcount()
    return np.sort(turn.sort_values(kind="stable").index.to_numpy()[:n_images])


def select_positive_evidence(maps: Mapping[str, StoredMaps]) -> dict[str, StoredMaps]:
    """Select the maps that can be judged as evidence for a class, not against it."""
    return {name: stored for name, stored in maps.items() if not METHODS[name].against}
