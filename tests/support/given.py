"""Maps that are there already, in the form in which torchcam's measures take them."""

from contextlib import nullcontext

import numpy as np
import torch


class Given:
    """What torchcam takes for an extractor: a network, and a map (N, S, S) of each image."""

    def __init__(self, model: torch.nn.Module, maps: np.ndarray) -> None:
        self.model, self.maps = model, torch.from_numpy(maps)

    def __call__(self, *_: object, **__: object) -> list[torch.Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[torch.Tensor]) -> torch.Tensor:
        return cams[0]

    def _hooks_off(self) -> nullcontext:
        return nullcontext()
