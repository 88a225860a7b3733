"""Fine-tuning on few pictures.

The last layer is fitted first, on features computed once; then all layers are fine-tuned, the
body at a lower rate than the head: gradients of a head that fits do not tear up features that are
good already (Kumar et al. 2022, arXiv 2202.10054). The views to train on are smaller than the
pictures that are evaluated. A random crop shows things enlarged, so at 5/7 of the side their
apparent sizes nearly agree (Touvron et al. 2019, arXiv 1906.06423), at half the cost. At the end
one number, the temperature, makes the probabilities agree with how often they come true (Guo et
al. 2017, arXiv 1706.04599).
"""

import copy
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.optim import LBFGS, AdamW
from torch.optim.lr_scheduler import LambdaLR

from pokecam import backbones
from pokecam.augmentation import augment
from pokecam.backbones import BACKBONES
from pokecam.classifier import HEADS, Classifier, predict
from pokecam.device import DeviceSettings, mixed_precision
from pokecam.errors import InputError
from pokecam.params import one_of
from pokecam.progress import Progress

PICTURES_SEEN = 4500  # an epoch shows each training picture once; as many as come to this …
EPOCHS = (8, 40)  # … within these bounds
VIEW = 5 / 7  # side of a training view : side of an evaluated picture
WARM_UP = 0.1  # fraction of the steps during which the rate rises
HEAD_RATE = 3  # the head learns this much faster than the body
LEAST_SPREAD = 0.2  # the least spread of an input to it that counts as such, of the mean spread
SCALES = (0.1, 10.0)  # of the logits, in `calibrate`
RIDGE = 0.05  # pull towards 0 on the weights of the last layer while it is fitted alone

log = logging.getLogger(__name__)


class TrainSettings(DeviceSettings):
    """Parameters of the train stage; params.yaml says what each is for."""

    backbone: Annotated[str, one_of(BACKBONES)]
    head: Annotated[str, one_of(HEADS)]
    feature_stride: Literal[32, 16]
    epochs: Annotated[int, Field(ge=1)] | None
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True)
class Pictures:
    """One part of the packed pictures.

    pixels: (M, S, S, 3) uint8, all parts; memory-mapped or not, only what is needed is read.
    rows: (N,) int, the rows of pixels that belong to this part.
    labels: (N,) int, the class index of each of these rows.
    """

    pixels: np.ndarray
    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class Epoch:
    """One row of the history: mean loss per picture in nats (the training loss weighted and
    smoothed, the validation loss plain and before `calibrate`), the body's rate after the epoch's
    last step."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    chosen: int = 0

    def rank(self) -> tuple[float, float]:
        """The best epoch has the highest: by validation accuracy, among equals by loss."""
        return self.val_accuracy, -self.val_loss


def fit(
    classifier: Classifier,
    train: Pictures,
    val: Pictures,
    *,
    epochs: int | None,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    label_smoothing: float,
    seed: int,
    fit_head: bool,
) -> pd.DataFrame:
    """Fine-tune `classifier` in place, on the device it is on; it ends with the weights of the
    epoch that is best on `val` (`Epoch.rank`), its logits scaled by `calibrate`, in evaluation
    mode.

    epochs: None lets `n_epochs` decide.
    batch_size: pictures per step, to within what makes all steps of an epoch alike.
    learning_rate: peak rate of the body; the head's is `HEAD_RATE` times that.
    fit_head: fit the last layer first; pointless over a body that has learnt nothing.

    Returns the history, one row per epoch with the fields of `Epoch`. On the CPU of one machine,
    with one number of threads, the arguments decide every bit of the result.

    Raises `InputError` if the loss stops being finite.
    """
    epochs = epochs or n_epochs(len(train))
    steps = max(1, round(len(train) / batch_size))
    weight = class_weights(train.labels, len(classifier.classes)).to(_device(classifier))
    loss = nn.CrossEntropyLoss(weight, label_smoothing=label_smoothing)
    optimiser = AdamW(_groups(classifier, learning_rate, weight_decay), fused=True)
    schedule = LambdaLR(optimiser, rate_factor(epochs * steps))
    course = _Course(classifier, train, loss, optimiser, schedule, steps, seed)
    if fit_head:
        course.fit_last_layer()
    history: list[Epoch] = []
    best_state: dict[str, Tensor] = {}
    with Progress(epochs, steps) as progress:
        for number in range(1, epochs + 1):
            progress.begin()
            trained = course.run_epoch(number, progress)
            row = Epoch(number, *trained, *measure(classifier, val), course.rate)
            progress.end(
                loss=row.train_loss, accuracy=row.train_accuracy, val_accuracy=row.val_accuracy
            )
            history.append(row)
            if max(history, key=Epoch.rank) is row:
                best_state = copy.deepcopy(classifier.state_dict())
    classifier.load_state_dict(best_state)
    calibrate(classifier, val)
    best = max(history, key=Epoch.rank)
    best.chosen = 1
    _warn_if_at_chance(best.val_accuracy, val.labels)
    return pd.DataFrame([asdict(row) for row in history])


def n_epochs(n_pictures: int) -> int:
    """How many epochs to train for: to see about `PICTURES_SEEN` pictures, within `EPOCHS`."""
    least, most = EPOCHS
    return min(max(round(PICTURES_SEEN / n_pictures), least), most)


def class_weights(labels: np.ndarray, n_classes: int) -> Tensor:
    """What a picture of class c counts for in the loss: n / (C · n_c), (C,) float32. All classes
    count the same, however many pictures they have, and pictures count 1 on average."""
    counts = np.bincount(labels, minlength=n_classes).clip(min=1)
    return torch.from_numpy(len(labels) / (n_classes * counts)).float()


def rate_factor(n_steps: int) -> Callable[[int], float]:
    """The rate at each step, as a fraction of its peak: a straight warm-up over the first
    `WARM_UP` of the steps, then half a cosine down to 0."""
    warm = max(1, round(WARM_UP * n_steps))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, n_steps - warm)))

    return factor


def view_size(classifier: Classifier) -> int:
    """Side in px of the views to train on: `VIEW` of the picture's, a multiple of 32 (which the
    networks halve without remainders) if it can be one, and no less than the backbone takes."""
    side = classifier.image_size * VIEW
    rounded = round(side / 32) * 32 if side >= 32 else round(side)
    return max(rounded, backbones.smallest_picture(classifier.backbone))


def fit_linear(layer: nn.Linear, x: Tensor, labels: Tensor, loss: nn.Module) -> None:
    """Set `layer` to the logistic regression of labels (N,) on its inputs x (N, K).

    Minimises loss + RIDGE / 2 · ‖W‖² over standardised inputs, then folds the standardisation
    into the layer.
    """
    std, mean = torch.std_mean(x, dim=0, correction=0)
    # An input that hardly varies must not get the enormous weight that makes it count.
    std = std.clamp(min=LEAST_SPREAD * std.mean() + 1e-6)
    z = (x - mean) / std
    W = torch.zeros_like(layer.weight, requires_grad=True)
    b = torch.zeros_like(layer.bias, requires_grad=True)
    optimiser = LBFGS([W, b], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        value = loss(F.linear(z, W, b), labels) + RIDGE / 2 * W.square().sum()
        value.backward()
        return value

    optimiser.step(objective)
    with torch.no_grad():
        layer.weight.copy_(W / std)
        layer.bias.copy_(b - (W / std) @ mean)


def calibrate(classifier: Classifier, val: Pictures) -> float:
    """Divide the logits by the temperature at which `val` is most probable; return it.

    Label smoothing, and few epochs, leave probabilities far too low. The temperature goes into the
    last layer's weights and bias: no decision and no shape of a map changes. Guo et al. 2017, arXiv
    1706.04599, §4.2; with Platt's targets (1999), 1 / (N + 2) short of certainty for N pictures, so
    that `val` without a single error does not ask for infinite logits.
    """
    logits = predict(classifier, val.pixels, val.rows).clone()
    labels = _labels(val, logits.device)
    smoothing = 1 / (len(val) + 2)
    log_scale = torch.zeros((), device=logits.device, requires_grad=True)
    optimiser = LBFGS([log_scale], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(log_scale.exp() * logits, labels, label_smoothing=smoothing)
        value.backward()
        return value

    optimiser.step(objective)
    scale = log_scale.detach().clamp(*(math.log(end) for end in SCALES)).exp().item()
    with torch.no_grad():
        for tensor in classifier.last_layer.parameters():
            tensor.mul_(scale)
    return 1 / scale


def measure(classifier: Classifier, part: Pictures) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy, on whole pictures."""
    logits = predict(classifier, part.pixels, part.rows)
    labels = _labels(part, logits.device)
    correct = logits.argmax(dim=1) == labels
    return F.cross_entropy(logits, labels).item(), correct.float().mean().item()


@dataclass
class _Course:
    """What all epochs of a training share."""

    classifier: Classifier
    train: Pictures
    loss: nn.Module
    optimiser: AdamW
    schedule: LambdaLR
    steps: int  # per epoch
    seed: int

    @property
    def rate(self) -> float:
        """The body's learning rate at the next step."""
        return float(self.schedule.get_last_lr()[0])

    def fit_last_layer(self) -> None:
        """Fit the last layer alone on what reaches it from one view of every picture.

        BatchNorm runs as in training, for the fit must suit what the first steps will see; its
        running statistics begin to follow these pictures. A convolution as last layer
        (SqueezeNet's own), or one without bias (MaxViT's), is left as it is.
        """
        layer = self.classifier.last_layer
        if not isinstance(layer, nn.Linear) or layer.bias is None:
            return
        for module in self.classifier.modules():
            module.train(isinstance(module, nn.BatchNorm2d))
        inputs, labels = [], []
        hook = layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            with torch.no_grad():
                for views, of_views in self._batches(0):
                    self.classifier(views)
                    labels.append(of_views)
        finally:
            hook.remove()
        fit_linear(layer, torch.cat(inputs), torch.cat(labels), self.loss)

    def run_epoch(self, number: int, progress: Progress) -> tuple[float, float]:
        """Show every training picture once; return mean loss and accuracy over its views."""
        self.classifier.train()
        total_loss, correct = 0.0, 0
        for step, (views, labels) in enumerate(self._batches(number), start=1):
            rate = self.rate
            loss, hits = self._step(views, labels)
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss became {loss} in epoch {number}, step {step}, at a learning rate "
                    f"of {rate:.2g}: lower learning_rate"
                )
            total_loss += loss * len(labels)
            correct += hits
            progress.step(loss=loss)
        return total_loss / len(self.train), correct / len(self.train)

    def _batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of every training picture, a step's at a time, with their labels.

        All chance (order, views, dropout) follows from the seed and the epoch's number.
        """
        chance = np.random.default_rng([self.seed, number])
        generator = torch.Generator().manual_seed(int(chance.integers(2**63)))
        torch.manual_seed(int(chance.integers(2**63)))
        order = chance.permutation(len(self.train))
        device = _device(self.classifier)
        labels = _labels(self.train, device)
        size_px = view_size(self.classifier)
        for chosen in np.array_split(order, self.steps):
            pixels = torch.from_numpy(self.train.pixels[self.train.rows[chosen]]).to(device)
            yield augment(pixels, size_px, generator), labels[chosen]

    def _step(self, views: Tensor, labels: Tensor) -> tuple[float, int]:
        """Learn from some views; return their mean loss and how many were right."""
        with mixed_precision(self.classifier):
            given = self.classifier(views)
        logits = given.float()
        loss = self.loss(logits, labels)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return loss.item(), int((logits.argmax(dim=1) == labels).sum())


def _groups(classifier: Classifier, learning_rate: float, weight_decay: float) -> list[dict]:
    """Parameter groups, the body's first. Biases and norms, which have one dimension, are not
    pulled towards 0."""
    return [
        {
            "params": [weight for weight in part.parameters() if (weight.ndim > 1) == decays],
            "lr": rate,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for part, rate in (
            (classifier.body, learning_rate),
            (classifier.head, HEAD_RATE * learning_rate),
        )
        for decays in (True, False)
    ]


def _device(classifier: Classifier) -> torch.device:
    return next(classifier.parameters()).device


def _labels(part: Pictures, device: torch.device) -> Tensor:
    return torch.from_numpy(part.labels.astype(np.int64)).to(device)


def _warn_if_at_chance(accuracy: float, labels: np.ndarray) -> None:
    """Warn loudly where always naming the most frequent class does as well, give or take two
    standard errors."""
    chance = np.bincount(labels).max() / len(labels)
    if accuracy <= chance + 2 * math.sqrt(chance * (1 - chance) / len(labels)):
        log.warning(
            "WARNING: validation accuracy %.2f is no better than chance (%.2f): the network has "
            "learnt next to nothing. Likely causes: learning_rate too high or too low, too few "
            "epochs, weights: none with few pictures, or pictures in the wrong class folders",
            accuracy,
            chance,
        )
