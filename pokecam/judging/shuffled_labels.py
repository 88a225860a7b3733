"""The same network, trained on labels that say nothing.

What its maps have in common with those of the network that is judged does not come from the
classes. The data randomisation of Adebayo et al. 2018 (arXiv 1810.03292), §3.3.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pokecam.data.packed.images import Packed
from pokecam.networks import pretrained
from pokecam.networks.classifier import Classifier
from pokecam.training.fit import Pictures, Recipe, TrainSettings, fit, n_epochs, start

log = logging.getLogger(__name__)

LONGER = 3  # times as many epochs: labels that say nothing are learnt by heart, and slowly
WATCHED = 64  # training pictures that stand in for a validation part, which has nothing to say


def train(
    packed: Packed,
    rows: np.ndarray,
    weights: Path,
    settings: TrainSettings,
    recipe: Recipe,
    device: torch.device,
) -> Classifier:
    """Train on shuffled labels, and say in the log how many of them the network knows by heart.

    rows: (N,) int, the training pictures among the packed ones; every class keeps its number of
    them. weights: where to start from, as `pretrained.write` writes it.
    """
    state, _ = pretrained.read(weights, settings.backbone)
    labels = pd.Index(packed.classes).get_indexer(packed.manifest.label)[rows]
    shuffled = np.random.default_rng(recipe.seed).permutation(labels)
    network = start(settings, packed.classes, packed.pixels.shape[1], state, recipe.seed)
    epochs = LONGER * (recipe.epochs or n_epochs(len(rows)))
    history = fit(
        network.to(device),
        Pictures(packed.pixels, rows, shuffled),
        Pictures(packed.pixels, rows[:WATCHED], shuffled[:WATCHED]),
        **recipe.model_dump() | {"epochs": epochs},
        pretrained=bool(state),
    )
    accuracy = history.train_accuracy.iloc[-1]
    log.warning("of shuffled labels, the network knows %.0f %% by heart", 100 * accuracy)
    return network
