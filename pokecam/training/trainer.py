"""The epochs of a fine-tuning: batches, steps, averaged weights, checkpoints."""

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from pokecam.common.errors import InputError
from pokecam.common.progress import Progress
from pokecam.networks.averaging import MovingAverage
from pokecam.networks.classifier import Classifier
from pokecam.networks.device import image_reader, is_out_of_memory, mixed_precision
from pokecam.networks.distributed import Team
from pokecam.training import freezing
from pokecam.training.augmentation import Views, augment, sample_views
from pokecam.training.checkpoints import Checkpoint
from pokecam.training.last_layer import fit_linear
from pokecam.training.loss import weighted_cross_entropy
from pokecam.training.schedule import (
    class_weights,
    n_epochs,
    rate_factor,
    rate_multiplier,
    view_size,
)
from pokecam.training.settings import Recipe

LAST_LAYER = 3  # the last layer, which is new, learns this much faster than the others
AVERAGED = 1 / 6  # time constant of the averaged weights, as a fraction of the training
FEWEST_PER_PROCESS = 2  # images of a step for each process: BatchNorm needs more than one
TALLY_EVERY = 10  # steps between two looks at the loss on a GPU

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledImages:
    """The training, validation or test set, as rows of the packed images.

    Attributes:
        pixels: (M, S, S, 3) uint8, all packed images, memory-mapped or not.
        rows: (N,) int, the rows of `pixels` that belong to this set.
        labels: (N,) int, the class index of each of these rows.
    """

    pixels: np.ndarray
    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def labels_on(self, device: torch.device) -> Tensor:
        """Return the labels as a tensor (N,) on a device."""
        return torch.from_numpy(self.labels.astype(np.int64)).to(device)


@dataclass
class Epoch:
    """One row of the history.

    Losses are means over images in nats. The training loss is that of the weights that learn,
    weighted by class and with smoothed labels; the validation loss is the plain cross-entropy of
    the averaged weights, before `fit.calibrate`. `learning_rate` is the rate after the last step
    of the epoch, of all but the last layer.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float


@dataclass
class TrainingState:
    """How far a training is. A checkpoint holds this, the weights and the optimiser.

    Attributes:
        epoch: the number of the epoch that runs, from 1.
        step: how many of its steps are done.
        loss: the sum of the mean losses of these steps.
        hits: the number of correctly classified images in these steps.
        at_once: how many images of a step fit into memory together; None: all.
        history: the epochs before.
    """

    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    hits: int = 0
    at_once: int | None = None
    history: list[Epoch] = field(default_factory=list)

    def end_epoch(self, row: Epoch) -> None:
        """Add a row to the history and begin the next epoch."""
        self.history.append(row)
        self.epoch, self.step, self.loss, self.hits = self.epoch + 1, 0, 0.0, 0


@dataclass(frozen=True)
class StepResult:
    """What one step gave. `loss` and `hits`, (), are on the device and may not be computed yet."""

    step: int
    rate: float
    loss: Tensor
    hits: Tensor


class Trainer:
    """What all epochs of a training share.

    The seed, the number of the epoch and the number of the step decide everything random: order,
    views and dropout.

    Args:
        classifier: the network, which is trained in place on the device it is on.
        train: the training set.
        recipe: how it is trained.
        pretrained: whether the body holds learnt weights. The weights are averaged then. From
            scratch they change so fast that averages lag behind.
        team: the processes that train together.
        checkpoint: where the state of the training is kept, or None.

    Raises:
        InputError: there are too few images a step for the team, or `freezing.freeze` finds no
            such layer.
    """

    def __init__(
        self,
        classifier: Classifier,
        train: LabelledImages,
        recipe: Recipe,
        *,
        pretrained: bool,
        team: Team,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.classifier = classifier
        self.train = train
        self.recipe = recipe
        self.pretrained = pretrained
        self.team = team
        self.checkpoint = checkpoint
        self.epochs = recipe.epochs or n_epochs(len(train))
        self.steps = max(1, round(len(train) / recipe.batch_size))  # of an epoch
        self.device = next(classifier.parameters()).device
        self.frozen = freezing.freeze(classifier, recipe.freeze, pretrained=pretrained)
        self.peak_rate = recipe.learning_rate * rate_multiplier(classifier)
        self.rate_factor = rate_factor(self.epochs * self.steps)
        self.view_px = view_size(classifier)
        self.labels = train.labels_on(self.device)
        self.read_images = image_reader(train.pixels, train.rows, self.device)
        self.class_weights = class_weights(train.labels, len(classifier.classes)).to(self.device)
        self.loss = partial(
            weighted_cross_entropy,
            class_weights=self.class_weights,
            label_smoothing=recipe.label_smoothing,
        )
        self.optimiser = AdamW(parameter_groups(classifier, recipe.weight_decay), fused=True)
        self.network: nn.Module = classifier
        time_constant = AVERAGED * (self.epochs * self.steps) if pretrained else 0
        self.averaged = averaged_model(classifier, time_constant)
        fewest = len(train) // self.steps
        if fewest < FEWEST_PER_PROCESS * team.count:
            raise InputError(
                f"batch_size: {fewest} images a step are too few for {team.count} processes: "
                f"at least {FEWEST_PER_PROCESS * team.count} are needed"
            )

    def begin(self) -> TrainingState:
        """Return the state of the checkpoint if there is one. Otherwise start a training, with a
        fitted last layer if the network is pretrained."""
        state = self.checkpoint.load() if self.checkpoint and self.team.is_main else None
        state = self.team.broadcast_object(state)
        if state is None:
            if self.pretrained:
                self._fit_last_layer()
            training_state = TrainingState()
        else:
            self.classifier.load_state_dict(state.pop("classifier"))
            self.optimiser.load_state_dict(state.pop("optimiser"))
            self.averaged.load_state_dict(state.pop("averaged"))
            state["history"] = [Epoch(**row) for row in state["history"]]
            training_state = TrainingState(**state)
            if self.team.is_main:
                log.warning("continues in epoch %d of %d", training_state.epoch, self.epochs)
        self.network = self.team.data_parallel(self.classifier)
        return training_state

    def save(self, state: TrainingState) -> None:
        """Write the state to the checkpoint, if there is one."""
        if self.checkpoint and self.team.is_main:
            history = [asdict(row) for row in state.history]
            self.checkpoint.save(
                vars(state)
                | {
                    "history": history,
                    "classifier": self.classifier.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "averaged": self.averaged.state_dict(),
                }
            )

    def rate(self, state: TrainingState) -> float:
        """Return the learning rate of the next step, of all but the last layer."""
        return self.peak_rate * self.rate_factor((state.epoch - 1) * self.steps + state.step)

    def run_epoch(
        self, state: TrainingState, progress: Progress, is_interrupted: Callable[[], bool]
    ) -> tuple[float, float]:
        """Train on every image that this epoch has not shown yet.

        Returns:
            Mean loss and accuracy over the views of the whole epoch.

        Raises:
            KeyboardInterrupt: `is_interrupted` said so; the state is saved.
        """
        self.classifier.train()
        for module in self.frozen:
            module.training = False
        batches = self._batches(state.epoch)
        n_seen = sum(len(rows) for rows, _, _ in batches[: state.step])
        progress.begin(state.epoch, len(self.train), n_seen)
        pending: list[StepResult] = []
        while state.step < self.steps:
            rows, views, seed = batches[state.step]
            torch.manual_seed(seed)
            rate = self.rate(state)
            state.step += 1
            pending.append(StepResult(state.step, rate, *self._step(state, rows, views, rate)))
            # To read the loss makes a GPU wait.
            tally_every = TALLY_EVERY if self.device.type == "cuda" else 1
            if len(pending) == tally_every or state.step == self.steps:
                self._tally(state, pending)
                pending.clear()
            progress.step(len(rows), loss=state.loss / max(1, state.step))
            if is_interrupted():
                self._tally(state, pending)
                self.save(state)
                raise KeyboardInterrupt(self.stop_message(state))
        self.team.broadcast(self.averaged.module.buffers())
        loss, hits = self.team.all_reduce(torch.tensor([state.loss, state.hits])).tolist()
        return loss / self.steps, hits / len(self.train)

    def stop_message(self, state: TrainingState) -> str:
        """Say how much of an interrupted training is kept."""
        epochs, steps = state.epoch - 1, state.step
        if self.checkpoint is None:
            return f"training stopped after {epochs} of {self.epochs} epochs"
        more = f" and {steps} steps" if steps else ""
        folder = self.checkpoint.path.parent
        return f"{epochs} of {self.epochs} epochs{more} are kept in {folder}; run again to continue"

    def _tally(self, state: TrainingState, pending: list[StepResult]) -> None:
        """Add the results of some steps to the sums of the epoch."""
        for result in pending:
            loss = result.loss.item()
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss became {loss} in epoch {state.epoch}, step {result.step}, at a "
                    f"learning rate of {result.rate:.2g}: lower learning_rate"
                )
            state.loss += loss
            state.hits += int(result.hits.item())

    def _batches(self, epoch: int) -> list[tuple[np.ndarray, Views, int]]:
        """Return for each step its training images, their views, and a seed for the rest."""
        rng = np.random.default_rng([self.recipe.seed, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        seeds = rng.integers(2**63, size=self.steps).tolist()
        order = rng.permutation(len(self.train))
        views = sample_views(len(order), generator, self.recipe.zoom_out)
        ends = [len(order) * step // self.steps for step in range(self.steps + 1)]
        spans = [slice(start, end) for start, end in pairwise(ends)]
        return [(order[span], views[span], seed) for span, seed in zip(spans, seeds, strict=True)]

    def _views(self, rows: np.ndarray, views: Views) -> Tensor:
        """Return network input (n, 3, T, T): views of some training images."""
        return augment(self.read_images(rows), views, self.view_px)

    def _step(
        self, state: TrainingState, rows: np.ndarray, views: Views, rate: float
    ) -> tuple[Tensor, Tensor]:
        """Do one step, in smaller pieces where memory does not hold all of it.

        Returns:
            Mean loss of the step, as far as this process computed it, and how many images of this
            process are correctly classified.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["times"]
        while True:
            try:
                return self._accumulate(rows, views, state.at_once or len(rows))
            except RuntimeError as error:
                at_once = state.at_once or len(rows)
                if not is_out_of_memory(error) or at_once == 1 or self.team.count > 1:
                    raise
            state.at_once = at_once // 2
            log.warning(
                "memory does not hold %d images at once: each step now takes %d at a time",
                at_once,
                state.at_once,
            )

    def _accumulate(self, rows: np.ndarray, views: Views, at_once: int) -> tuple[Tensor, Tensor]:
        total_weight = self.class_weights[self.labels[rows]].sum()
        share = self.team.share(len(rows))
        rows, views = rows[share], views[share]
        loss_sum, hits = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        self.optimiser.zero_grad()
        for start in range(0, len(rows), at_once):
            chunk = slice(start, start + at_once)
            labels = self.labels[rows[chunk]]
            is_last = start + at_once >= len(rows)
            with nullcontext() if is_last else self.team.no_sync(self.network):
                with mixed_precision(self.classifier):
                    outputs = self.network(self._views(rows[chunk], views[chunk]))
                logits = outputs.float()
                loss = self.loss(logits, labels, reduction="sum") / total_weight
                # The gradient of the team is a mean over processes, the loss a sum.
                (loss * self.team.count).backward()
            loss_sum += loss.detach()
            hits += (logits.argmax(dim=1) == labels).sum()
        self.optimiser.step()
        self.averaged.update_parameters(self.classifier)
        return loss_sum, hits

    def _fit_last_layer(self) -> None:
        """Fit the last layer alone on its inputs for one view of every image.

        BatchNorm runs as in training, because the fit must suit what the first steps will compute.
        Its running statistics begin to follow these images. A convolution as last layer (the
        native head of SqueezeNet), or one without bias (that of MaxViT), is left as it is.
        """
        layer = self.classifier.last_layer
        if not isinstance(layer, nn.Linear) or layer.bias is None:
            return
        frozen = set(map(id, self.frozen))
        for module in self.classifier.modules():
            module.training = isinstance(module, nn.BatchNorm2d) and id(module) not in frozen
        inputs: list[Tensor] = []
        row_batches: list[np.ndarray] = []
        hook = layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            with torch.no_grad():
                for rows, views, _ in self._batches(0):
                    share = self.team.share(len(rows))
                    self.classifier(self._views(rows[share], views[share]))
                    inputs[-1] = self.team.all_gather(inputs[-1], len(rows))
                    row_batches.append(rows)
        finally:
            hook.remove()
        fit_linear(
            layer,
            torch.cat(inputs),
            self.labels[np.concatenate(row_batches)],
            partial(self.loss, reduction="mean"),
        )


def averaged_model(classifier: Classifier, time_constant: float) -> MovingAverage:
    """Return a copy whose weights and statistics follow those of `classifier`: their exponential
    moving average with a time constant in steps."""
    return MovingAverage(classifier, decay=1 - 1 / max(1.0, time_constant))


def parameter_groups(classifier: Classifier, weight_decay: float) -> list[dict]:
    """Return the parameter groups of the optimiser, those of the last layer last.

    Biases and the parameters of normalisation have one dimension. They get no weight decay. The
    learning rate of a group is `times` that of the first.
    """
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
            "times": LAST_LAYER if is_last else 1,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for is_last in (False, True)
        for decays in (True, False)
    ]
