"""What happens in the steps of one epoch: which images, which views, at which rate."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from pokecam.training.augmentation import Views, sample_views


@dataclass(frozen=True)
class Plan:
    """An epoch of N images and T steps. The numbers of images in its steps differ by at most one.

    Attributes:
        order: (N,) int, the training images in the order of the steps.
        views: N views, likewise.
        seeds: T seeds, for what else is random in a step, such as dropout.
        ends: T + 1 numbers. Step t takes the images from ends[t] to ends[t + 1] of `order`.
    """

    order: np.ndarray
    views: Views
    seeds: list[int]
    ends: list[int]

    @classmethod
    def of_epoch(
        cls, epoch: int, n_images: int, n_steps: int, *, seed: int, zoom_out: float
    ) -> "Plan":
        """Plan an epoch.

        Args:
            epoch: its number, from 1; 0 is for the fit of the last layer.
            n_images: N.
            n_steps: T.
            seed: decides everything, together with `epoch`.
            zoom_out: as in `augmentation.sample_views`.
        """
        rng = np.random.default_rng([seed, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        seeds = rng.integers(2**63, size=n_steps).tolist()
        order = rng.permutation(n_images)
        views = sample_views(n_images, generator, zoom_out)
        ends = [n_images * step // n_steps for step in range(n_steps + 1)]
        return cls(order, views, seeds, ends)

    @property
    def sizes(self) -> list[int]:
        """The number of images in each step."""
        return [end - start for start, end in pairwise(self.ends)]
