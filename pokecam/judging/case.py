"""What is judged: a network, its test pictures, and the maps that were made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from pokecam.cam.display import display
from pokecam.cam.folding import folded
from pokecam.cam.maps import capture, compute
from pokecam.cam.methods import METHODS
from pokecam.common.progress import counting
from pokecam.data.packed.images import Packed
from pokecam.judging import localization
from pokecam.networks import layers
from pokecam.networks.classifier import Classifier, in_batches, prepare
from pokecam.networks.device import shared_out

BASELINES = ("random", "centre", "edges")

Floats = NDArray[np.floating]
Numbers = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Truth:
    """Where the object is in n pictures: masks bool (n, S, S), and n arrays (k, 4) of boxes as in
    `localization`; empty where it is not known."""

    masks: NDArray[np.bool_]
    boxes: list[Numbers]


@dataclass(frozen=True)
class Case:
    """What is judged: N test pictures and M methods, the baselines last.

    classifier: the trained network. layer: the one that maps are made of, as in `layers.at`.
    packed, rows: the pictures, and which of them, (N,).
    predicted: (N,) int, the class whose map is judged. maps: method → raw maps (N, C or 1, h, w),
        memory-mapped or not, as `speaking_for` leaves them.
    """

    classifier: Classifier
    layer: str | None
    packed: Packed
    rows: Ints
    predicted: Ints
    maps: Mapping[str, np.ndarray]

    @cached_property
    def network(self) -> Classifier:
        """The same network, faster."""
        return folded(layers.at(self.classifier, self.layer)).eval()

    @cached_property
    def alike(self) -> list[list[int]]:
        """Groups of look-alikes by index."""
        classes = self.packed.classes
        return [[classes.index(name) for name in group] for group in self.packed.lookalikes]

    @property
    def methods(self) -> list[str]:
        """What is compared: maps of the network, then the baselines."""
        return [*(name for name in self.maps if name not in BASELINES), *BASELINES]

    @cached_property
    def seeds(self) -> pd.Series:
        """File → the seed of its drawn scene."""
        assert self.packed.scenes is not None
        return self.packed.scenes.set_index("image").seed

    @cached_property
    def files(self) -> list[str]:
        return self.packed.manifest.file.iloc[self.rows].to_list()

    @cached_property
    def labels(self) -> list[str]:
        return self.packed.manifest.label.iloc[self.rows].to_list()

    @cached_property
    def _boxes(self) -> dict[str, Numbers]:
        edges = ["xmin", "ymin", "xmax", "ymax"]
        table = self.packed.boxes
        groups = [] if table is None else table.groupby("image")
        return {str(file): some[edges].to_numpy(float) for file, some in groups}

    def truth(self, some: slice | Ints) -> Truth | None:
        """Where the object is in some pictures; None if the source says it of none."""
        if self.packed.masks is None and self.packed.boxes is None:
            return None
        here = np.arange(len(self.rows))[some]
        boxes = [self._boxes.get(self.files[i], np.zeros((0, 4))) for i in here]
        masks = localization.masks_of_boxes(boxes, self.packed.pixels.shape[1])
        if self.packed.masks is not None:
            drawn = self.packed.masks[self.rows[some]] > 0
            known = drawn.any(axis=(1, 2))
            masks[known] = drawn[known]
        boxless = [i for i, own in enumerate(boxes) if not len(own)]
        for i, found in zip(boxless, localization.boxes_of_masks(masks[boxless]), strict=True):
            boxes[i] = found
        return Truth(masks, boxes)

    def each(
        self, work: Callable[[int, Tensor], None], rows: Ints, what: str, unit: str = "pictures"
    ) -> None:
        """Call `work` with i and the input (1, 3, S, S) of the picture in `rows[i]`, for every one.

        Pictures are shared out over the cores, each on one of them: that is faster than all cores
        on one small batch, and the same to the bit with any number of them. What `work` finds it
        keeps by i: it runs in several threads, and in no order.
        what: is being done, for the progress that is shown. unit: of rows.
        """
        where = next(self.network.parameters()).device

        def one(i: int) -> None:
            picture = torch.from_numpy(self.packed.pixels[rows[i : i + 1]])
            work(i, prepare(picture.to(where)))

        with shared_out(where) as pool, counting(what, len(rows), unit) as count:
            for _ in pool.map(one, range(len(rows))):
                count(1)

    def in_batches(self, rows: Ints, run: Callable[[Tensor, slice], None]) -> None:
        """Call `run` with the input (n, 3, S, S) of pictures in some rows, and where they are among
        these, batch after batch; again in halves if memory does not do."""
        for _ in in_batches(self.network, self.packed.pixels, rows, run):
            pass

    def probability(self, x: Tensor) -> Tensor:
        """The probabilities (n, C) of input (n, 3, S, S), on the network's device."""
        return self.logits(x).softmax(dim=1)

    @torch.inference_mode()
    def logits(self, x: Tensor) -> Tensor:
        """The logits (n, C) of input (n, 3, S, S), on the network's device."""
        return self.network(x.to(next(self.network.parameters()).device))

    def shown(self, x: Tensor, raw: Callable[[str], Floats]) -> Floats:
        """The displayed maps (n, M, S, S) of n pictures.

        x: their input (n, 3, S, S). raw: gives the raw maps (n, h, w) of one of `maps`.
        """
        captured = capture(self.network, x)
        made = (
            raw(name) if name in self.maps else compute(captured, name)[:, 0].cpu().numpy()
            for name in self.methods
        )
        return np.stack([display(one, x.shape[-1]) for one in made], axis=1)

    def of_class(self, name: str, some: Ints, target: Ints) -> Floats:
        """The raw maps (n, h, w) of some pictures, (n,), each for one class, (n,)."""
        maps = self.maps[name]
        return np.asarray(maps[some, target if maps.shape[1] > 1 else 0])

    def of_predicted(self, some: Ints, x: Tensor) -> Floats:
        """As `shown`, of the predicted classes."""
        return self.shown(x, lambda name: self.of_class(name, some, self.predicted[some]))

    def of_difference(
        self,
        some: Ints,
        x: Tensor,
        of: Ints,
        against: Ints,
    ) -> Floats:
        """As `shown`, of what speaks for one class against another: the difference of their maps,
        which for CAM and Grad-CAM is the map of the difference of their logits; the first class's
        own for a method that compares anyway, or has one map for all classes."""

        def raw(name: str) -> Floats:
            own = self.of_class(name, some, of)
            compares = METHODS[name].finer or not METHODS[name].per_class
            return own if compares else own - self.of_class(name, some, against)

        return self.shown(x, raw)


def chosen(labels: Sequence[str], n_pictures: int) -> NDArray[np.bool_]:
    """Which pictures the measures that take time are asked of: `n_pictures`, classes taking turns
    as long as they have any, in the order of the pictures."""
    turn = pd.Series(range(len(labels))).groupby(np.asarray(labels)).cumcount()
    first = turn.sort_values(kind="stable").index[:n_pictures]
    return np.isin(np.arange(len(labels)), first)


def speaking_for(maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The maps that can be judged as evidence for a class: not those of what speaks against it."""
    return {name: values for name, values in maps.items() if not METHODS[name].against}
