"""A training step that never waits for its device, and its capture as a CUDA graph: a prototype.

The order of the images, the values of their views and the learning rates of an epoch lie on the
device before it begins. A counter on the device says which step is next. So a step takes nothing
from the host, and can be replayed as a graph.
"""

import copy
import hashlib
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW

from pokecam.networks.classifier import MEAN, STD, Classifier
from pokecam.networks.device import mixed_precision
from pokecam.training.augmentation import LUMA, sampling_grid
from pokecam.training.trainer import AVERAGED, Trainer, parameter_groups

VALUES_OF_VIEWS = ("scale", "shift", "colours")
WARM_UP = 3  # steps before a capture


class DeviceStep:
    """The steps of the first epoch of a training, one a call, all of them on the device.

    Args:
        trainer: what is trained, and how. All its steps must have the same number of images.
        classifier: the network to train, on the device of the trainer.
        pixels: (N, S, S, 3) uint8, the training images, on the device.
        has_views: whether each step computes views. Otherwise all steps have the same input.
        learns: whether each step ends with the optimiser and the average of the weights.
    """

    def __init__(
        self,
        trainer: Trainer,
        classifier: Classifier,
        pixels: Tensor,
        *,
        has_views: bool = True,
        learns: bool = True,
    ) -> None:
        device = trainer.device
        self.classifier, self.averaged = classifier, copy.deepcopy(classifier)
        self.pixels, self.labels, self.class_weights = pixels, trainer.labels, trainer.class_weights
        self.view_px, self.smoothing = trainer.view_px, trainer.recipe.label_smoothing
        self.has_views, self.learns = has_views, learns
        batches = trainer._batches(1)
        self.rows = torch.from_numpy(np.stack([rows for rows, _, _ in batches])).to(device)
        n_steps, n_images = self.rows.shape
        self.views = {
            name: torch.stack([getattr(views, name) for _, views, _ in batches]).to(device)
            for name in VALUES_OF_VIEWS
        }
        rates = [trainer.peak_rate * trainer.rate_factor(step) for step in range(n_steps)]
        self.rates = torch.tensor(rates, device=device)
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)
        self.loss, self.hits = torch.zeros((), device=device), torch.zeros((), device=device)
        self.fixed = torch.randn(n_images, 3, self.view_px, self.view_px, device=device)
        self.fixed = self.fixed.contiguous(memory_format=torch.channels_last)
        self.luma, self.mean, self.std = (
            torch.tensor(rgb, device=device).view(3, 1) for rgb in (LUMA, MEAN, STD)
        )
        groups = parameter_groups(classifier, trainer.recipe.weight_decay)
        for group in groups:
            group["lr"] = torch.zeros((), device=device)
        on_gpu = device.type == "cuda"
        self.optimiser = AdamW(groups, fused=True, capturable=on_gpu)
        time_constant = AVERAGED * trainer.epochs * trainer.steps
        self.weight_of_new = 1 / max(1.0, time_constant)
        self.tensors = [t for t in classifier.state_dict().values() if t.is_floating_point()]
        averages = self.averaged.state_dict().values()
        self.averages = [t for t in averages if t.is_floating_point()]
        self.start = [tensor.clone() for tensor in self.tensors]
        classifier.train()

    def __call__(self) -> None:
        """Do the next step."""
        rows = self.rows.index_select(0, self.counter)[0]
        labels = self.labels.index_select(0, rows)
        x = self._views(rows) if self.has_views else self.fixed
        self.optimiser.zero_grad()
        with mixed_precision(self.classifier):
            outputs = self.classifier(x)
        logits = outputs.float()
        loss = F.cross_entropy(
            logits,
            labels,
            self.class_weights,
            reduction="sum",
            label_smoothing=self.smoothing,
        )
        loss = loss / self.class_weights.index_select(0, labels).sum()
        loss.backward()
        self.loss += loss.detach()
        self.hits += (logits.argmax(dim=1) == labels).sum()
        if self.learns:
            rate = self.rates.index_select(0, self.counter)[0]
            for group in self.optimiser.param_groups:
                group["lr"].copy_(rate * group["times"])
            self.optimiser.step()
            torch._foreach_lerp_(self.averages, self.tensors, self.weight_of_new)
        self.counter.add_(1).remainder_(len(self.rates))

    @torch.no_grad()
    def restart(self) -> None:
        """Go back to the state before the first step."""
        torch._foreach_copy_(self.tensors, self.start)
        torch._foreach_copy_(self.averages, self.start)
        for state in self.optimiser.state.values():
            for tensor in state.values():
                tensor.zero_()
        for tensor in (self.counter, self.loss, self.hits):
            tensor.zero_()

    def digest(self) -> str:
        """Return a short hash of all weights and of their averages."""
        digest = hashlib.sha256()
        for tensor in (*self.tensors, *self.averages):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def _views(self, rows: Tensor) -> Tensor:
        """Do what `augmentation.augment` does, without any constant from the host."""
        scale, shift, factors = (
            self.views[name].index_select(0, self.counter)[0] for name in VALUES_OF_VIEWS
        )
        planes = self.pixels.index_select(0, rows).permute(0, 3, 1, 2).float()
        grid = sampling_grid(scale, shift, self.view_px)
        windows = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
        saturation, contrast, brightness = factors[:, :, None, None].unbind(dim=1)
        eye = torch.eye(3, device=planes.device)
        saturate = saturation * eye + (1 - saturation) * self.luma.T
        mean_grey = (windows.mean(dim=(2, 3)) @ self.luma)[:, :, None]
        matrix = brightness * contrast * saturate
        offset = brightness * (1 - contrast) * mean_grey
        flat = torch.baddbmm(
            offset / (255 * self.std) - self.mean / self.std,
            matrix / (255 * self.std),
            windows.flatten(2),
        )
        return flat.view_as(windows).contiguous(memory_format=torch.channels_last)


def as_graph(step: DeviceStep) -> Callable[[], None]:
    """Capture a step. The result replays it, from the state before the first step."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    step.restart()
    return graph.replay
