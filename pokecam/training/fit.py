"""Fine-tuning on few images.

The recipe has four ideas.

* The last layer is fitted first, on features that are computed once. Then the network is
  fine-tuned, the body at a lower rate than the last layer: the gradients of a layer that fits do
  not destroy features that are good already (Kumar et al. 2022, arXiv 2202.10054).
* Training views are smaller than the images that are evaluated. A random crop shows objects
  enlarged; at 5/7 of the side their apparent sizes nearly agree (Touvron et al. 2019,
  arXiv 1906.06423), at half the cost.
* The result is an average of the weights over the last steps, which allows a higher rate (Polyak
  and Juditsky 1992; Izmailov et al. 2018, arXiv 1803.05407). No epoch is chosen: the rate falls
  to zero, so the last epoch is the best but for the noise of a small validation set, and to
  choose by that noise costs accuracy.
* The validation set decides one number, the temperature, with which the probabilities agree with
  the observed frequencies (Guo et al. 2017, arXiv 1706.04599).
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy import special
from torch import Tensor

from pokecam.common.progress import Progress
from pokecam.common.running import defer_interrupts
from pokecam.networks.classifier import Classifier, build_classifier, predict
from pokecam.networks.distributed import SINGLE_PROCESS, Team
from pokecam.networks.late_dynamo import late_dynamo
from pokecam.networks.pretrained import apply_weights
from pokecam.training.checkpoints import Checkpoint
from pokecam.training.last_layer import confidence_scale
from pokecam.training.settings import Recipe, TrainSettings
from pokecam.training.trainer import Epoch, LabelledImages, Trainer

SIGNIFICANT = 0.05  # p-value below which a network is better than chance
CONFIDENCE = 0.95

log = logging.getLogger(__name__)


def start(
    settings: TrainSettings,
    classes: Sequence[str],
    image_size: int,
    state: Mapping[str, Tensor],
    seed: int,
) -> Classifier:
    """Build the network to fine-tune, on the CPU.

    Args:
        settings: which network.
        classes: names in the order of the logits.
        image_size: side S in px of the packed images.
        state: pretrained weights, as `pretrained.apply_weights` takes them.
        seed: decides the random weights of all layers that `state` does not hold.
    """
    torch.manual_seed(seed)
    classifier = build_classifier(
        settings.backbone, settings.head, classes, image_size, settings.feature_stride
    )
    apply_weights(state, classifier)
    return classifier


@late_dynamo()
def fit(
    classifier: Classifier,
    train: LabelledImages,
    val: LabelledImages,
    recipe: Recipe,
    *,
    pretrained: bool,
    team: Team = SINGLE_PROCESS,
    checkpoint: Checkpoint | None = None,
) -> pd.DataFrame:
    """Fine-tune a network in place, on the device it is on.

    It ends in evaluation mode, with the averaged weights after the last epoch and logits scaled
    by `calibrate`. On the CPU of one machine, with one number of threads, the arguments decide
    every bit of the result, whether the training was interrupted or not.

    Args:
        classifier: the network, as `start` builds it.
        train: the training set.
        val: the validation set.
        recipe: how it is trained.
        pretrained: whether the body holds learnt weights. The last layer is fitted first then,
            and the weights are averaged.
        team: the processes that train together. Each is given all images.
        checkpoint: where to continue from if it holds a state, and where the state of every epoch
            is kept. The caller removes it when the result is safe.

    Returns:
        The history, one row per epoch with the fields of `Epoch`.

    Raises:
        InputError: the loss stops being finite, `batch_size` is too small for the team, or the
            layers to freeze do not exist.
        KeyboardInterrupt: somebody asked to stop; the state is saved.
    """
    trainer = Trainer(
        classifier, train, recipe, pretrained=pretrained, team=team, checkpoint=checkpoint
    )
    state = trainer.begin()
    averaged = cast(Classifier, trainer.averaged.module)
    deferred = defer_interrupts() if team.count == 1 else nullcontext(lambda: False)
    with deferred as is_interrupted, Progress(trainer.epochs, enabled=team.is_main) as progress:
        while state.epoch <= trainer.epochs:
            train_figures = trainer.run_epoch(state, progress, is_interrupted)
            val_figures = measure(averaged, val, team)
            row = Epoch(
                state.epoch, *train_figures, *val_figures, trainer.rate(state.epoch, state.step)
            )
            progress.end(
                loss=row.train_loss, accuracy=row.train_accuracy, val_accuracy=row.val_accuracy
            )
            state.end_epoch(row)
            stops = is_interrupted()
            (trainer.save if stops else trainer.keep)(state)
            if stops:
                raise KeyboardInterrupt(trainer.stop_message(state))
    classifier.load_state_dict(averaged.state_dict())
    calibrate(classifier, val, team)
    if team.is_main:
        n_correct = round(state.history[-1].val_accuracy * len(val))
        if message := chance_warning(n_correct, val.labels):
            log.warning("WARNING: %s", message)
    return pd.DataFrame([asdict(row) for row in state.history])


def calibrate(classifier: Classifier, val: LabelledImages, team: Team = SINGLE_PROCESS) -> float:
    """Divide the logits by the temperature at which the labels of `val` are most probable.

    Label smoothing and few epochs leave probabilities far too low. The temperature
    (`last_layer.confidence_scale`) goes into weights and bias of the last layer: no prediction
    and no shape of a map changes.

    Returns:
        The temperature.
    """
    logits = predict(classifier, val.pixels, val.rows, team).clone()
    scale = confidence_scale(logits, val.labels_on(logits.device))
    with torch.no_grad():
        for tensor in classifier.last_layer.parameters():
            tensor.mul_(scale)
    return 1 / scale


def measure(
    classifier: Classifier, images: LabelledImages, team: Team = SINGLE_PROCESS
) -> tuple[float, float]:
    """Return mean cross-entropy in nats, and accuracy, on whole images."""
    logits = predict(classifier, images.pixels, images.rows, team)
    labels = images.labels_on(logits.device)
    is_correct = logits.argmax(dim=1) == labels
    return F.cross_entropy(logits, labels).item(), is_correct.float().mean().item()


def chance_warning(n_correct: int, labels: np.ndarray) -> str | None:
    """Say whether a network is better than always to predict the most frequent class.

    Chance is the share of that class. The exact binomial test decides, one-sided, with p < 0.05.
    The network has learnt next to nothing if its accuracy is, with 95 % confidence (Clopper and
    Pearson 1934), nearer to chance than to 1. Few images cannot show that.

    Args:
        n_correct: the number of correctly classified images.
        labels: (N,) int, the class indices of all images.

    Returns:
        A warning, or None if the network is better than chance.
    """
    n = len(labels)
    chance = np.bincount(labels).max() / n
    p = special.bdtrc(n_correct - 1, n, chance) if n_correct else 1.0
    if p < SIGNIFICANT:
        return None
    accuracy = f"validation accuracy {n_correct / n:.2f} ({n_correct} of {n} images)"
    tail = (1 - CONFIDENCE) / 2
    highest = special.bdtri(n_correct, n, tail) if n_correct < n else 1.0
    if highest < (chance + 1) / 2:
        return (
            f"{accuracy} is no better than chance ({chance:.2f}): the network has learnt next to "
            "nothing. Likely causes: learning_rate too high or too low, too few epochs, weights: "
            "none with few images, or images in the wrong class folders"
        )
    return (
        f"{accuracy} cannot be told from chance ({chance:.2f}; p = {p:.2g}, exact binomial test): "
        "these are too few images to judge the network by. See the accuracy on the test set, and "
        "its confidence interval; more images, or a higher val_fraction, would tell"
    )
