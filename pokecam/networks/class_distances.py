"""How far an image is from the classes that a network has learnt.

The probabilities of a network sum to 1 over its classes, so an image of anything else gets the name
of a class, too. The distance is 1 − the cosine between the inputs of the last layer and their mean
over the nearest class. It says little by itself, so it is compared with the distances of the
validation images, which the network was not trained on.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ClassDistances:
    """What distances are measured from, and what they are compared with.

    Attributes:
        means: (C, K) float32 on the CPU, the mean inputs of the last layer over training images of
            each class.
        validation: (V,) float32 on the CPU, the distances of the validation images, ascending.
    """

    means: Tensor
    validation: Tensor

    @classmethod
    def measure(
        cls, inputs: Tensor, labels: Tensor, validation_inputs: Tensor, n_classes: int
    ) -> "ClassDistances":
        """Measure the means and the distances of the validation images.

        Args:
            inputs: (N, K), inputs of the last layer for training images.
            labels: (N,) int, their class indices.
            validation_inputs: (V, K), inputs of the last layer for the validation images.
            n_classes: C.
        """
        one_hot = F.one_hot(labels.cpu(), n_classes).float()  # (N, C)
        sums = one_hot.T @ inputs.cpu().float()
        means = sums / one_hot.sum(dim=0).clamp(min=1)[:, None]
        return cls(means, _distances(validation_inputs, means).sort().values)

    def of(self, inputs: Tensor) -> Tensor:
        """Return the distance to the nearest class, 0 to 2.

        Args:
            inputs: (N, K), inputs of the last layer.

        Returns:
            (N,) float32 on the CPU.
        """
        return _distances(inputs, self.means)

    def n_nearer(self, inputs: Tensor) -> list[int]:
        """Count the validation images that are nearer to their nearest class.

        Args:
            inputs: (N, K), inputs of the last layer.

        Returns:
            N numbers from 0 to V.
        """
        return torch.searchsorted(self.validation, self.of(inputs)).tolist()


def _distances(inputs: Tensor, means: Tensor) -> Tensor:
    cosines = F.normalize(inputs.detach().cpu().float(), dim=1) @ F.normalize(means, dim=1).T
    return 1 - cosines.max(dim=1).values
