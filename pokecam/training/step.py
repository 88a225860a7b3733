"""One step of a training.

Everything that a step reads lies on the device: the images, if its memory holds them, their order,
their views, the learning rates of the epoch, and the number of the step. So a step takes nothing
from the host, and on a GPU it can be replayed as a graph (`replay`). Views of other sizes
(`zoom_out`), and images that are read from a file, do make a GPU wait.
"""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from pokecam.networks.averaging import MovingAverage
from pokecam.networks.classifier import Classifier
from pokecam.networks.device import Images, is_out_of_memory, mixed_precision
from pokecam.networks.distributed import Team
from pokecam.training.augmentation import Views, augment
from pokecam.training.loss import weighted_cross_entropy
from pokecam.training.plan import Plan
from pokecam.training.schedule import view_size
from pokecam.training.settings import Recipe

LAST_LAYER = 3  # the last layer, which is new, learns this much faster than the others

log = logging.getLogger(__name__)


class Step:
    """The steps of a training, one a call of `run`.

    Args:
        classifier: the network, which is trained in place on the device it is on.
        images: the N training images, for that device.
        labels: (N,) int, their class indices, on the device.
        class_weights: (C,), as in `weighted_cross_entropy`, on the device.
        recipe: how it is trained.
        time_constant: of the averaged weights, in steps.
        team: the processes that train together.

    Attributes:
        network: what runs: the classifier, or the classifier inside a module that averages the
            gradients of several processes.
        optimiser: AdamW. Its rates are tensors on the device if `rates_on_device`.
        averaged: the averaged weights.
        at_once: how many images of a step fit into memory together; None: all.
        losses: (T,), the mean loss of each step of the epoch, as far as this process computed it.
        hits: (), how many images of the epoch this process has classified correctly.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        labels: Tensor,
        class_weights: Tensor,
        recipe: Recipe,
        time_constant: float,
        team: Team,
    ) -> None:
        self.classifier, self.team = classifier, team
        self.network: nn.Module = classifier
        self.images, self.labels, self.class_weights = images, labels, class_weights
        self.device = labels.device
        self.view_px = view_size(classifier)
        self.zooms = recipe.zoom_out > 0
        self.loss = partial(
            weighted_cross_entropy,
            class_weights=class_weights,
            label_smoothing=recipe.label_smoothing,
        )
        self.averaged = averaged_model(classifier, time_constant)
        # Rates from the host are Python numbers, which a graph would never read again.
        self.rates_on_device = self.device.type == "cuda"
        self.optimiser = AdamW(
            parameter_groups(classifier, recipe.weight_decay),
            fused=True,
            capturable=self.device.type == "cuda",
        )
        # PyTorch warns of a step that is not captured, and the first ones never are.
        self.optimiser._warned_capturable_if_run_uncaptured = True
        self.at_once: int | None = None
        self._offsets = torch.arange(len(labels), device=self.device)
        self._order = torch.zeros(len(labels), dtype=torch.int64, device=self.device)
        self._first, self._number = torch.zeros(2, 1, dtype=torch.int64, device=self.device)
        self.hits = torch.zeros((), dtype=torch.int64, device=self.device)
        self.losses = self._rates = torch.zeros(0, device=self.device)
        self._views: Views | None = None

    def begin_epoch(self, plan: Plan, rates: list[float], step: int = 0, hits: int = 0) -> None:
        """Copy all that the steps of an epoch need to the device.

        Args:
            plan: of the epoch.
            rates: the learning rate of each of its steps, of all but the last layer.
            step: how many of its steps are done.
            hits: `hits` after these.
        """
        self._host_rates, self._host_number = rates, step
        if self._views is None:
            self._rates = torch.zeros(len(rates), device=self.device)
            self.losses = torch.zeros(len(rates), device=self.device)
            self._views = plan.views.to(self.device)
        # In place, because a graph reads from the same memory for ever.
        self._rates.copy_(torch.tensor(rates))
        self._order.copy_(torch.from_numpy(plan.order))
        for name, values in vars(self._views).items():
            values.copy_(getattr(plan.views, name))
        self._first.fill_(plan.ends[step])
        self._number.fill_(step)
        self.hits.fill_(hits)

    def run(self, n: int, compute: Callable[[int], None] | None = None) -> None:
        """Do the next step of the epoch.

        Args:
            n: its number of images, over all processes.
            compute: does what the method `compute` does; None: that method.
        """
        self._set_rates()
        (compute or self._compute_divided)(n)
        self._host_number += 1
        self.averaged.count()

    def compute(self, n: int) -> None:
        """Do what a step does on the device. It changes nothing on the host.

        Args:
            n: the number of images, over all processes.
        """
        positions = self._first + self._offsets[:n]  # in the order of the epoch
        rows = self._order[positions]
        total_weight = self.class_weights[self.labels[rows]].sum()
        share = self.team.share(n)
        positions, rows = positions[share], rows[share]
        loss_sum = torch.zeros((), device=self.device)
        hits = torch.zeros((), dtype=torch.int64, device=self.device)
        self.optimiser.zero_grad()
        at_once = self.at_once or n
        for start in range(0, len(rows), at_once):
            chunk = slice(start, start + at_once)
            labels = self.labels[rows[chunk]]
            is_last = start + at_once >= len(rows)
            with nullcontext() if is_last else self.team.no_sync(self.network):
                with mixed_precision(self.classifier):
                    outputs = self.network(self.views(rows[chunk], positions[chunk]))
                logits = outputs.float()
                loss = self.loss(logits, labels, reduction="sum") / total_weight
                # The gradient of the team is a mean over processes, the loss a sum.
                (loss * self.team.count).backward()
            loss_sum += loss.detach()
            hits += (logits.argmax(dim=1) == labels).sum()
        self._learn()
        self.losses.index_copy_(0, self._number, loss_sum[None])
        self.hits += hits
        self._first += n
        self._number += 1

    def views(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Return network input (n, 3, T, T): views of training images.

        Args:
            rows: (n,) int, the images.
            positions: (n,) int, where they are in the order of the epoch.
        """
        assert self._views is not None
        pixels = self.images.read(rows)
        return augment(pixels, self._views[positions], self.view_px, zooms=self.zooms)

    def restore(self, optimiser: dict, averaged: dict) -> None:
        """Continue with the states that `optimiser` and `averaged` had."""
        self.optimiser.load_state_dict(optimiser)
        self.averaged.load_state_dict(averaged)
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"] = group["lr"].to(self.device)

    def _learn(self) -> None:
        if self.rates_on_device:
            rate = self._rates[self._number][0]
            for group in self.optimiser.param_groups:
                group["lr"].copy_(rate * group["times"])
        self.optimiser.step()
        self.averaged.move(self.classifier)

    def _set_rates(self) -> None:
        rate = self._host_rates[self._host_number]
        for group in self.optimiser.param_groups:
            if not self.rates_on_device:
                group["lr"] = rate * group["times"]
            elif not isinstance(group["lr"], Tensor):
                group["lr"] = torch.zeros((), device=self.device)

    def _compute_divided(self, n: int) -> None:
        """Do what `compute` does, in smaller pieces where memory does not hold all of it."""
        while True:
            at_once = self.at_once or n
            try:
                return self.compute(n)
            except RuntimeError as error:
                if not is_out_of_memory(error) or at_once == 1 or self.team.count > 1:
                    raise
            self.at_once = at_once // 2
            log.warning(
                "memory does not hold %d images at once: each step now takes %d at a time",
                at_once,
                self.at_once,
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
