"""The epochs of a fine-tuning, and its checkpoints."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from pokecam.common.errors import InputError
from pokecam.common.progress import Progress
from pokecam.networks.averaging import MovingAverage
from pokecam.networks.classifier import Classifier
from pokecam.networks.device import Graphs, Images
from pokecam.networks.distributed import CPU, Team
from pokecam.training import freezing
from pokecam.training.checkpoints import Checkpoint
from pokecam.training.last_layer import fit_linear
from pokecam.training.plan import Plan
from pokecam.training.replay import Replay, log_reason
from pokecam.training.schedule import class_weights, n_epochs, rate_factor, rate_multiplier
from pokecam.training.settings import Recipe
from pokecam.training.step import Step

AVERAGED = 1 / 6  # time constant of the averaged weights, as a fraction of the training
FEWEST_PER_PROCESS = 2  # images of a step for each process: BatchNorm needs more than one
SAVING = 0.05  # largest share of the time that goes into checkpoints
# Inputs times outputs of the last layer, times images, up to which a CPU fits it faster than a GPU
# starts the some thousand operations that the fit consists of.
SMALL_FIT = 2 * 10**7
LOOK_EVERY_S = 1.0  # time between two looks at the loss on a GPU, which make it wait

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
        self.saving = SAVING
        self._saved_at, self._seconds_of_save = 0.0, 0.0
        self.look_every_s = LOOK_EVERY_S if self.device.type == "cuda" else 0.0
        self.step = Step(
            classifier,
            Images.of(train.pixels, train.rows, self.device),
            train.labels_on(self.device),
            class_weights(train.labels, len(classifier.classes)).to(self.device),
            recipe,
            AVERAGED * (self.epochs * self.steps) if pretrained else 0,
            team,
        )
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
            self.step.restore(state.pop("optimiser"), state.pop("averaged"))
            state["history"] = [Epoch(**row) for row in state["history"]]
            training_state = TrainingState(**state)
            self.step.at_once = training_state.at_once
            if self.team.is_main:
                log.warning("continues in epoch %d of %d", training_state.epoch, self.epochs)
        self.step.network = self.team.data_parallel(self.classifier)
        self.run_step = self._fastest()
        return training_state

    def keep(self, state: TrainingState) -> None:
        """Save the state after an epoch, if not too much of the time goes into that (`SAVING`)."""
        begun_at = time.monotonic()
        if begun_at - self._saved_at < self._seconds_of_save / self.saving:
            return
        self.save(state)
        self._saved_at = time.monotonic()
        self._seconds_of_save = self._saved_at - begun_at

    def save(self, state: TrainingState) -> None:
        """Write the state to the checkpoint, if there is one."""
        if self.checkpoint and self.team.is_main:
            history = [asdict(row) for row in state.history]
            self.checkpoint.save(
                vars(state)
                | {
                    "history": history,
                    "classifier": self.classifier.state_dict(),
                    "optimiser": self.step.optimiser.state_dict(),
                    "averaged": self.averaged.state_dict(),
                }
            )

    @property
    def averaged(self) -> MovingAverage:
        """The averaged weights."""
        return self.step.averaged

    def rate(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step, of all but the last layer."""
        return self.peak_rate * self.rate_factor((epoch - 1) * self.steps + step)

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
        plan = self._plan(state.epoch)
        rates = [self.rate(state.epoch, step) for step in range(self.steps)]
        self.step.begin_epoch(plan, rates, state.step, state.hits)
        progress.begin(state.epoch, len(self.train), plan.ends[state.step])
        n_looked, looked_at = state.step, time.monotonic()
        for step in range(state.step, self.steps):
            torch.manual_seed(plan.seeds[step])
            self.run_step(plan.sizes[step])
            state.step = step + 1
            stops = is_interrupted()
            is_last = stops or state.step == self.steps
            if is_last or time.monotonic() - looked_at >= self.look_every_s:
                self._look(state, n_looked, rates)
                n_looked, looked_at = state.step, time.monotonic()
            progress.step(plan.sizes[step], loss=state.loss / max(1, n_looked))
            if stops:
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

    def _look(self, state: TrainingState, n_looked: int, rates: list[float]) -> None:
        """Add up the results of the steps since the last look. A GPU finishes all steps first.

        Args:
            state: its sums are changed.
            n_looked: the number of steps of this epoch that the sums hold.
            rates: the learning rates of the epoch.
        """
        for step, loss in enumerate(self.step.losses[n_looked : state.step].tolist(), n_looked):
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss became {loss} in epoch {state.epoch}, step {step + 1}, at a "
                    f"learning rate of {rates[step]:.2g}: lower learning_rate"
                )
            state.loss += loss
        state.hits = int(self.step.hits)
        state.at_once = self.step.at_once

    def _plan(self, epoch: int) -> Plan:
        recipe = self.recipe
        return Plan.of_epoch(
            epoch, len(self.train), self.steps, seed=recipe.seed, zoom_out=recipe.zoom_out
        )

    def _fastest(self) -> Callable[[int], None]:
        """Return what does a step: on a GPU a graph, if it can be captured."""
        if self.device.type != "cuda":
            return self.step.run
        reasons = {
            "several processes train together": self.team.count > 1,
            "its memory does not hold all training images": self.step.images.resident is None,
            "zoom_out makes views of different sizes": self.recipe.zoom_out > 0,
        }
        if reason := next((text for text, holds in reasons.items() if holds), None):
            log_reason(reason)
            return self.step.run
        return Replay(self.step, {*self._plan(1).sizes}, Graphs()).run

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
        plan, step = self._plan(0), self.step
        step.begin_epoch(plan, [0.0] * self.steps)
        order = torch.from_numpy(plan.order).to(self.device)
        hook = layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            with torch.no_grad():
                for start, end in pairwise(plan.ends):
                    share = self.team.share(end - start)
                    positions = torch.arange(start, end, device=self.device)[share]
                    self.classifier(step.views(order[positions], positions))
                    inputs[-1] = self.team.all_gather(inputs[-1], end - start)
        finally:
            hook.remove()
        x = torch.cat(inputs).float()
        on = CPU if x.numel() * layer.out_features <= SMALL_FIT else self.device
        weights = step.class_weights.to(on)
        loss = partial(step.loss, class_weights=weights, reduction="mean")
        fit_linear(layer, x.to(on), step.labels[order].to(on), loss)
