"""What a trained network says of images that belong to none of its classes."""

import numpy as np
import torch
from torch import Tensor

from pokecam.networks.class_distances import ClassDistances
from pokecam.networks.classifier import Classifier, in_batches
from pokecam.networks.distributed import SINGLE_PROCESS, Team
from pokecam.training.trainer import LabelledImages

# Training images of each class, at most. The mean of more hardly differs.
MOST_PER_CLASS = 100


def measure_distances(
    classifier: Classifier,
    train: LabelledImages,
    val: LabelledImages,
    team: Team = SINGLE_PROCESS,
) -> ClassDistances:
    """Measure how far the validation images are from the classes.

    Args:
        classifier: the trained network, on the device it is on. It is put into evaluation mode.
        train: the training set, of which the first `MOST_PER_CLASS` images of each class are used.
        val: the validation set.
        team: the processes that share the images. All of them must call this function, and each
            gets the result.
    """
    classifier.eval()
    order = np.argsort(train.labels, kind="stable")
    starts = np.searchsorted(train.labels[order], train.labels[order])
    selected = np.sort(order[np.arange(len(order)) - starts < MOST_PER_CLASS])
    return ClassDistances.measure(
        _last_inputs(classifier, train.pixels, train.rows[selected], team),
        torch.from_numpy(train.labels[selected].astype(np.int64)),
        _last_inputs(classifier, val.pixels, val.rows, team),
        len(classifier.classes),
    )


@torch.inference_mode()
def _last_inputs(
    classifier: Classifier, pixels: np.ndarray, rows: np.ndarray, team: Team
) -> Tensor:
    """Return the inputs of the last layer (N, K) on the CPU."""
    share = rows[team.share(len(rows))]
    batches = in_batches(classifier, pixels, share, lambda x, _: classifier.last_inputs(x).cpu())
    inputs = torch.cat([batch for _, batch in batches])
    return team.all_gather(inputs, len(rows)).clone()
