"""Fine-tuning on few pictures.

The last layer is fitted first, on features computed once; then the network is fine-tuned, the
rest at a lower rate than the last: gradients of a layer that fits do not tear up features that are
good already (Kumar et al. 2022, arXiv 2202.10054). The views to train on are smaller than the
pictures that are evaluated. A random crop shows things enlarged, so at 5/7 of the side their
apparent sizes nearly agree (Touvron et al. 2019, arXiv 1906.06423), at half the cost. What is
validated and kept is an average over the last steps, which bears a higher rate than the weights
themselves (Polyak and Juditsky 1992; Izmailov et al. 2018, arXiv 1803.05407). No epoch is chosen:
the rate falls to zero and the average smooths what is left, so the last is the best but for the
chance of a small validation part, and choosing by that chance costs accuracy. What the
validation part decides is one number, the temperature, which makes the probabilities agree with
how often they come true (Guo et al. 2017, arXiv 1706.04599).
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Annotated, Literal, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pokecam.common.errors import InputError
from pokecam.common.params import Settings, one_of
from pokecam.common.progress import Progress
from pokecam.common.running import when_asked
from pokecam.networks import backbones
from pokecam.networks.backbones import BACKBONES
from pokecam.networks.classifier import HEADS, Classifier, build, predict
from pokecam.networks.device import DeviceSettings, mixed_precision, out_of_memory, reader
from pokecam.networks.distributed import ALONE, Team
from pokecam.networks.pretrained import apply
from pokecam.training import freezing
from pokecam.training.augmentation import Views, augment, draw
from pokecam.training.checkpoints import Checkpoint
from pokecam.training.last_layer import confidence_scale, fit_linear

PICTURES_SEEN = 4500  # an epoch shows each training picture once; as many as come to this …
EPOCHS = (8, 40)  # … within these bounds
VIEW = 5 / 7  # side of a training view : side of an evaluated picture
WARM_UP = 0.1  # fraction of the steps during which the rate rises
LAST_LAYER = 3  # the last layer, which is new, learns this much faster than the rest
WITHOUT_BATCHNORM = 0.1  # … and networks without BatchNorm this much slower than others
AVERAGED = 1 / 6  # of the training: time constant of the averaged weights
LEAST_SHARE = 2  # pictures of a step for each process: BatchNorm needs more than one
LOOK_EVERY = 10  # steps between two looks at the loss on a GPU

log = logging.getLogger(__name__)


class TrainSettings(DeviceSettings):
    """The network that the train stage builds; params.yaml says what each parameter is for."""

    backbone: Annotated[str, one_of(BACKBONES)]
    head: Annotated[str, one_of(HEADS)]
    feature_stride: Literal[32, 16]


class Recipe(Settings):
    """How it is trained: arguments of `fit`."""

    freeze: Annotated[str, Field(min_length=1)]
    epochs: Annotated[int, Field(ge=1)] | None
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    zoom_out: Annotated[float, Field(ge=0, le=1)]
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
    smoothed, of the weights that learn; the validation loss plain, of the averaged weights, before
    `calibrate`), the rate after the epoch's last step, of all but the last layer."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float


def start(
    settings: TrainSettings,
    classes: Sequence[str],
    image_size: int,
    state: Mapping[str, Tensor],
    seed: int,
) -> Classifier:
    """The network to fine-tune, on the CPU: fresh weights that follow from the seed, and over them
    the pretrained `state`, as `pretrained.apply` takes it."""
    torch.manual_seed(seed)
    classifier = build(
        settings.backbone, settings.head, classes, image_size, settings.feature_stride
    )
    apply(state, classifier)
    return classifier


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
    pretrained: bool,
    zoom_out: float = 0.0,
    freeze: str = freezing.NONE,
    team: Team = ALONE,
    checkpoint: Checkpoint | None = None,
) -> pd.DataFrame:
    """Fine-tune `classifier` in place, on the device it is on; it ends with the averaged weights
    after the last epoch, its logits scaled by `calibrate`, in evaluation mode.

    epochs: None lets `n_epochs` decide.
    batch_size: pictures per step, to within what makes all steps of an epoch alike; over all
        processes of the team.
    learning_rate: peak rate of networks with BatchNorm (`pace`); the last layer's is `LAST_LAYER`
        times that.
    pretrained: whether the body has learnt something. Then the last layer is fitted first, and the
        weights are averaged; from scratch they change so fast that averages lag behind.
    zoom_out: share of the views that show their picture smaller, as in `augmentation.draw`.
    freeze: as in `freezing.freeze`; `early` layers are left as they are if they have learnt
        something, and learn otherwise.
    team: the processes that train together; each is given all pictures.
    checkpoint: where to go on from if it has a state, and to keep the state of every epoch. The
        caller removes it when the result is safe.

    Returns the history, one row per epoch with the fields of `Epoch`. On the CPU of one machine,
    with one number of threads, the arguments decide every bit of the result, in one go or in
    several.

    Raises `InputError` if the loss stops being finite, if `batch_size` is too small for the team,
    or as `freezing.freeze`; `KeyboardInterrupt`, after saving, when asked to stop.
    """
    epochs = epochs or n_epochs(len(train))
    if freeze == freezing.EARLY and not pretrained:
        freeze = freezing.NONE
    course = _Course(
        classifier,
        train,
        still=freezing.freeze(classifier, freeze),
        epochs=epochs,
        steps=max(1, round(len(train) / batch_size)),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        zoom_out=zoom_out,
        seed=seed,
        pretrained=pretrained,
        team=team,
        checkpoint=checkpoint,
    )
    standing = course.begin()
    averaged = cast(Classifier, course.averaged.module)
    listening = when_asked() if team.count == 1 else nullcontext(lambda: False)
    with listening as asked, Progress(epochs, shown=team.leads) as progress:
        while standing.epoch <= epochs:
            trained = course.run_epoch(standing, progress, asked)
            row = Epoch(
                standing.epoch, *trained, *measure(averaged, val, team), course.rate(standing)
            )
            progress.end(
                loss=row.train_loss, accuracy=row.train_accuracy, val_accuracy=row.val_accuracy
            )
            standing.end_epoch(row)
            course.save(standing)
            if asked():
                raise KeyboardInterrupt(_kept(standing.epoch - 1, 0, epochs, checkpoint))
    classifier.load_state_dict(averaged.state_dict())
    calibrate(classifier, val, team)
    if team.leads:
        _warn_if_at_chance(standing.history[-1].val_accuracy, val.labels)
    return pd.DataFrame([asdict(row) for row in standing.history])


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


def pace(classifier: Classifier) -> float:
    """What the learning rate is multiplied by. BatchNorm undoes any change of the size of the
    weights before it, and with it most of what too high a rate does; networks without it (AlexNet,
    VGG, SqueezeNet) or with LayerNorm instead (ConvNeXt, Swin, ViT) bear less."""
    normalised = any(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())
    return 1.0 if normalised else WITHOUT_BATCHNORM


def view_size(classifier: Classifier) -> int:
    """Side in px of the views to train on: `VIEW` of the picture's, a multiple of 32 (which the
    networks halve without remainders) if it can be one, and no less than the backbone takes."""
    side = classifier.image_size * VIEW
    rounded = round(side / 32) * 32 if side >= 32 else round(side)
    return max(rounded, backbones.smallest_picture(classifier.backbone))


def calibrate(classifier: Classifier, val: Pictures, team: Team = ALONE) -> float:
    """Divide the logits by the temperature at which `val` is most probable; return it.

    Label smoothing, and few epochs, leave probabilities far too low. The temperature
    (`logistic.confidence_scale`) goes into the last layer's weights and bias: no decision and no
    shape of a map changes.
    """
    logits = predict(classifier, val.pixels, val.rows, team).clone()
    scale = confidence_scale(logits, _labels(val, logits.device))
    with torch.no_grad():
        for tensor in classifier.last_layer.parameters():
            tensor.mul_(scale)
    return 1 / scale


def measure(classifier: Classifier, part: Pictures, team: Team = ALONE) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy, on whole pictures."""
    logits = predict(classifier, part.pixels, part.rows, team)
    labels = _labels(part, logits.device)
    correct = logits.argmax(dim=1) == labels
    return F.cross_entropy(logits, labels).item(), correct.float().mean().item()


@dataclass
class _Standing:
    """How far a training is: with the weights and the optimiser's averages, all that a checkpoint
    keeps.

    epoch: the one that runs; step: how many of its steps are done; loss, hits: sums over them.
    at_once: pictures of a step that memory holds at once; None: all.
    history: of the epochs before.
    """

    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    hits: int = 0
    at_once: int | None = None
    history: list[Epoch] = field(default_factory=list)

    def end_epoch(self, row: Epoch) -> None:
        self.history.append(row)
        self.epoch, self.step, self.loss, self.hits = self.epoch + 1, 0, 0.0, 0


class _Course:
    """What all epochs of a training share. All chance (order, views, dropout) follows from the
    seed, the epoch's number and the step's."""

    def __init__(
        self,
        classifier: Classifier,
        train: Pictures,
        *,
        still: list[nn.Module],
        epochs: int,
        steps: int,  # per epoch
        learning_rate: float,
        weight_decay: float,
        label_smoothing: float,
        zoom_out: float,
        seed: int,
        pretrained: bool,
        team: Team,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.classifier = classifier
        self.train = train
        self.still = still
        self.steps = steps
        self.learning_rate = learning_rate * pace(classifier)
        self.view_px = view_size(classifier)
        self.label_smoothing = label_smoothing
        self.zoom_out = zoom_out
        self.seed = seed
        self.team = team
        self.checkpoint = checkpoint
        self.device = _device(classifier)
        self.labels = _labels(train, self.device)
        self.pixels = reader(train.pixels, train.rows, self.device)
        self.weight = class_weights(train.labels, len(classifier.classes)).to(self.device)
        self.factor = rate_factor(epochs * steps)
        self.optimiser = AdamW(_groups(classifier, weight_decay), fused=True)
        self.network: nn.Module = classifier
        self.pretrained = pretrained
        self.averaged = _averaged(classifier, AVERAGED * (epochs * steps) if pretrained else 0)
        self.epochs = epochs
        least = len(train) // steps
        if least < LEAST_SHARE * team.count:
            raise InputError(
                f"batch_size: {least} pictures a step are too few for {team.count} processes: "
                f"at least {LEAST_SHARE * team.count} are needed"
            )

    def begin(self) -> _Standing:
        """Take up the state of the checkpoint, or else begin, with a fitted head or without."""
        state = self.checkpoint.load() if self.checkpoint and self.team.leads else None
        state = self.team.told(state)
        if state is None:
            if self.pretrained:
                self._fit_last_layer()
            standing = _Standing()
        else:
            self.classifier.load_state_dict(state.pop("classifier"))
            self.optimiser.load_state_dict(state.pop("optimiser"))
            self.averaged.load_state_dict(state.pop("averaged"))
            state["history"] = [Epoch(**row) for row in state["history"]]
            standing = _Standing(**state)
            if self.team.leads:
                log.warning("goes on in epoch %d of %d", standing.epoch, self.epochs)
        self.network = self.team.parallel(self.classifier)
        return standing

    def save(self, standing: _Standing) -> None:
        """Keep the state in the checkpoint, if there is one."""
        if self.checkpoint and self.team.leads:
            history = [asdict(row) for row in standing.history]
            self.checkpoint.save(
                vars(standing)
                | {
                    "history": history,
                    "classifier": self.classifier.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "averaged": self.averaged.state_dict(),
                }
            )

    def rate(self, standing: _Standing) -> float:
        """The learning rate at the next step, of all but the last layer."""
        return self.learning_rate * self.factor((standing.epoch - 1) * self.steps + standing.step)

    def run_epoch(
        self, standing: _Standing, progress: Progress, asked: Callable[[], bool]
    ) -> tuple[float, float]:
        """Show every training picture that this epoch has not shown yet; return mean loss and
        accuracy over its views."""
        self.classifier.train()
        for module in self.still:
            module.training = False
        batches = self._batches(standing.epoch)
        seen = sum(len(rows) for rows, _, _ in batches[: standing.step])
        progress.begin(standing.epoch, len(self.train), seen)
        pending: list[_Learnt] = []
        while standing.step < self.steps:
            rows, views, seed = batches[standing.step]
            torch.manual_seed(seed)
            rate = self.rate(standing)
            standing.step += 1
            pending.append(_Learnt(standing.step, rate, *self._step(standing, rows, views, rate)))
            # Asking what the loss is makes a GPU wait.
            look = LOOK_EVERY if self.device.type == "cuda" else 1
            if len(pending) == look or standing.step == self.steps:
                self._tally(standing, pending)
                pending.clear()
            progress.step(len(rows), loss=standing.loss / max(1, standing.step))
            if asked():
                self._tally(standing, pending)
                self.save(standing)
                raise KeyboardInterrupt(
                    _kept(standing.epoch - 1, standing.step, self.epochs, self.checkpoint)
                )
        self.team.follow(self.averaged.module.buffers())
        loss, hits = self.team.total(torch.tensor([standing.loss, standing.hits])).tolist()
        return loss / self.steps, hits / len(self.train)

    def _tally(self, standing: _Standing, pending: "list[_Learnt]") -> None:
        for learnt in pending:
            loss = learnt.loss.item()
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss became {loss} in epoch {standing.epoch}, step {learnt.step}, at a "
                    f"learning rate of {learnt.rate:.2g}: lower learning_rate"
                )
            standing.loss += loss
            standing.hits += int(learnt.hits.item())

    def _batches(self, epoch: int) -> list[tuple[np.ndarray, Views, int]]:
        """Which training pictures each step shows, in which views, with a seed for the rest."""
        chance = np.random.default_rng([self.seed, epoch])
        generator = torch.Generator().manual_seed(int(chance.integers(2**63)))
        seeds = chance.integers(2**63, size=self.steps).tolist()
        order = chance.permutation(len(self.train))
        views = draw(len(order), generator, self.zoom_out)
        ends = [len(order) * step // self.steps for step in range(self.steps + 1)]
        spans = [slice(start, end) for start, end in pairwise(ends)]
        return [(order[span], views[span], seed) for span, seed in zip(spans, seeds, strict=True)]

    def _show(self, rows: np.ndarray, views: Views) -> Tensor:
        """Network input (n, 3, T, T): views of the training pictures in some rows."""
        return augment(self.pixels(rows), views, self.view_px)

    def _step(
        self, standing: _Standing, rows: np.ndarray, views: Views, rate: float
    ) -> tuple[Tensor, Tensor]:
        """Learn from one step's pictures; return their mean loss (this process's part of it) and
        how many of this process's were right."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["times"]
        while True:
            try:
                return self._learn(rows, views, standing.at_once or len(rows))
            except RuntimeError as error:
                at_once = standing.at_once or len(rows)
                if not out_of_memory(error) or at_once == 1 or self.team.count > 1:
                    raise
            standing.at_once = at_once // 2
            log.warning(
                "memory does not hold %d pictures at once: each step now learns from %d at a time",
                at_once,
                standing.at_once,
            )

    def _learn(self, rows: np.ndarray, views: Views, at_once: int) -> tuple[Tensor, Tensor]:
        whole = self.weight[self.labels[rows]].sum()
        share = self.team.share(len(rows))
        rows, views = rows[share], views[share]
        loss_sum, hits = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        self.optimiser.zero_grad()
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            labels = self.labels[rows[part]]
            last = start + at_once >= len(rows)
            with nullcontext() if last else self.team.apart(self.network):
                with mixed_precision(self.classifier):
                    given = self.network(self._show(rows[part], views[part]))
                logits = given.float()
                loss = self._loss(logits, labels) / whole
                # The team's gradient is a mean over processes, the loss a sum.
                (loss * self.team.count).backward()
            loss_sum += loss.detach()
            hits += (logits.argmax(dim=1) == labels).sum()
        self.optimiser.step()
        self.averaged.update_parameters(self.classifier)
        return loss_sum, hits

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted sum over pictures."""
        return F.cross_entropy(
            logits, labels, self.weight, reduction="sum", label_smoothing=self.label_smoothing
        )

    def _fit_last_layer(self) -> None:
        """Fit the last layer alone on what reaches it from one view of every picture.

        BatchNorm runs as in training, for the fit must suit what the first steps will see; its
        running statistics begin to follow these pictures. A convolution as last layer
        (SqueezeNet's own), or one without bias (MaxViT's), is left as it is.
        """
        layer = self.classifier.last_layer
        if not isinstance(layer, nn.Linear) or layer.bias is None:
            return
        still = set(map(id, self.still))
        for module in self.classifier.modules():
            module.training = isinstance(module, nn.BatchNorm2d) and id(module) not in still
        inputs: list[Tensor] = []
        shown: list[np.ndarray] = []
        hook = layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            with torch.no_grad():
                for rows, views, _ in self._batches(0):
                    share = self.team.share(len(rows))
                    self.classifier(self._show(rows[share], views[share]))
                    inputs[-1] = self.team.gathered(inputs[-1], len(rows))
                    shown.append(rows)
        finally:
            hook.remove()
        labels = self.labels[np.concatenate(shown)]
        fit_linear(
            layer,
            torch.cat(inputs),
            labels,
            nn.CrossEntropyLoss(self.weight, label_smoothing=self.label_smoothing),
        )


def _averaged(classifier: Classifier, steps: float) -> AveragedModel:
    """A copy whose weights and statistics trail behind: their exponential moving average with a
    time constant of `steps`."""
    decay = 1 - 1 / max(1.0, steps)
    return AveragedModel(classifier, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


@dataclass(frozen=True)
class _Learnt:
    """What one step came to; loss and hits, (), are on the device, perhaps not yet computed."""

    step: int
    rate: float
    loss: Tensor
    hits: Tensor


def _kept(epochs: int, steps: int, of: int, checkpoint: Checkpoint | None) -> str:
    """What is told of a training that was asked to stop."""
    if checkpoint is None:
        return f"training stopped after {epochs} of {of} epochs"
    more = f" and {steps} steps" if steps else ""
    return f"{epochs} of {of} epochs{more} are kept in {checkpoint.path.parent}; run again to go on"


def _groups(classifier: Classifier, weight_decay: float) -> list[dict]:
    """Parameter groups, the last layer's last. Biases and norms, which have one dimension, are not
    pulled towards 0."""
    last = {id(weight) for weight in classifier.last_layer.parameters()}
    return [
        {
            "params": [
                weight
                for weight in classifier.parameters()
                if weight.requires_grad
                and (id(weight) in last) == is_last
                and (weight.ndim > 1) == decays
            ],
            "times": LAST_LAYER if is_last else 1,  # the rate is this times that of the others
            "weight_decay": weight_decay if decays else 0.0,
        }
        for is_last in (False, True)
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
