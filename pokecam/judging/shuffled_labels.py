"""The same network, trained on shuffled labels.

What its maps have in common with those of the judged network does not come from the classes. This
is the data randomisation test of Adebayo et al. 2018 (arXiv 1810.03292), §3.3.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pokecam.data.packed.images import Packed
from pokecam.networks import pretrained
from pokecam.networks.classifier import Classifier
from pokecam.training.fit import fit, start
from pokecam.training.schedule import n_epochs
from pokecam.training.settings import Recipe, TrainSettings
from pokecam.training.trainer import LabelledImages

log = logging.getLogger(__name__)

EPOCHS_FACTOR = 3  # times as many epochs, because to memorise shuffled labels is slow
# Training images that stand in for the validation set, whose labels cannot be predicted.
N_VALIDATION = 64


def train(
    packed: Packed,
    rows: np.ndarray,
    weights: Path,
    settings: TrainSettings,
    recipe: Recipe,
    device: torch.device,
) -> Classifier:
    """Train on shuffled labels, and log the share of them that the network has memorised.

    Args:
        packed: the packed images.
        rows: (N,) int, the training images among them. Every class keeps its number of images.
        weights: the pretrained weights, as `pretrained.write_weights` writes them.
        settings: which network.
        recipe: how it is trained.
        device: where it is trained.
    """
    state, _ = pretrained.read_weights(weights, settings.backbone)
    labels = pd.Index(packed.classes).get_indexer(packed.manifest.label)[rows]
    shuffled = np.random.default_rng(recipe.seed).permutation(labels)
    network = start(settings, packed.classes, packed.pixels.shape[1], state, recipe.seed)
    epochs = EPOCHS_FACTOR * (recipe.epochs or n_epochs(len(rows)))
    history = fit(
        network.to(device),
        LabelledImages(packed.pixels, rows, shuffled),
        LabelledImages(packed.pixels, rows[:N_VALIDATION], shuffled[:N_VALIDATION]),
        recipe.model_copy(update={"epochs": epochs}),
        pretrained=bool(state),
    )
    accuracy = history.train_accuracy.iloc[-1]
    log.warning("the network has memorised %.0f %% of the shuffled labels", 100 * accuracy)
    return network
