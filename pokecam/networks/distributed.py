"""Several processes that share the work of one stage, on several GPUs or hosts; only this module
knows how they are started and how they talk (Hugging Face accelerate)."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pokecam.common import running
from pokecam.common.errors import InputError
from pokecam.networks import device

LAUNCH = "POKECAM_LAUNCH"  # options of `accelerate launch`; one process where it is not set
_LAUNCHER = "POKECAM_LAUNCHER"  # set for the launcher, lest what it starts launches again
CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes that do a stage's work together; without arguments, this one alone.

    index: which of them this one is; the first, 0, leads: it alone writes and reports.
    count: how many there are.
    device: what this one computes on.
    accelerator: `accelerate.Accelerator`, where there are several.
    """

    index: int = 0
    count: int = 1
    device: torch.device = CPU
    accelerator: Any = None

    @property
    def leads(self) -> bool:
        return self.index == 0

    def share(self, n: int) -> slice:
        """Which of n things are this process's: in order, as many as the others' to within one."""
        return self._shares(n)[self.index]

    def _shares(self, n: int) -> list[slice]:
        return [
            slice(*ends) for ends in pairwise(n * i // self.count for i in range(self.count + 1))
        ]

    def gathered(self, own: Tensor, n: int) -> Tensor:
        """The shares of all, own (n_own, …), put together in order: (n, …), for every process."""
        if self.count == 1:
            return own
        from accelerate.utils import gather

        sizes = [share.stop - share.start for share in self._shares(n)]
        padded = F.pad(own, (0, 0) * (own.ndim - 1) + (0, max(sizes) - len(own)))
        parts = gather(padded.to(self.device)).split(max(sizes))
        whole = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
        return whole.to(own.device)

    def total(self, own: Tensor) -> Tensor:
        """The sum over all processes."""
        return self.gathered(own[None], self.count).sum(dim=0)

    def told(self, value: T) -> T:
        """What the leader has of something that is no tensor, for every process."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with the leader's."""
        if self.count > 1:
            from accelerate.utils import broadcast

            for tensor in tensors:
                tensor.copy_(broadcast(tensor.contiguous()))

    def parallel(self, network: nn.Module) -> nn.Module:
        """`network` with gradients that are the mean over all processes; the leader's weights."""
        return self.accelerator.prepare_model(network) if self.count > 1 else network

    def apart(self, network: nn.Module) -> AbstractContextManager:
        """Within, what `parallel` gave keeps its gradients to itself, for the next backward pass
        outside to add to and share."""
        return self.accelerator.no_sync(network) if self.count > 1 else nullcontext()


ALONE = Team()


def run(main: Callable[[], object]) -> None:
    """Run a stage that can be shared: in as many processes as `LAUNCH` asks for."""
    options = os.environ.get(LAUNCH, "").strip()
    if options and not _launched() and _LAUNCHER not in os.environ:
        stage = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
        launcher = [sys.executable, "-m", "accelerate.commands.launch", *shlex.split(options)]
        sys.stderr.flush()
        os.environ[_LAUNCHER] = "1"
        os.execv(sys.executable, [*launcher, "--module", stage])
    running.run(lambda: _joined(main, options))


def _joined(main: Callable[[], object], options: str) -> None:
    """Raises `InputError` in a process that was launched, but knows of no others."""
    if options and not _launched():
        raise InputError(
            f"{LAUNCH}={options}: that is one process; for several, on CPUs too, it takes "
            "--multi_gpu --num_processes N (for one, leave it unset)"
        )
    main()


def team(device_name: str) -> Team:
    """The processes that were started together with this one, each on a device of its own."""
    picked = device.pick(device_name)
    if not _launched():
        return Team(device=picked)
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=picked.type == "cpu")
    return Team(
        accelerator.process_index,
        accelerator.num_processes,
        picked if picked.type == "cpu" else accelerator.device,
        accelerator,
    )


def _launched() -> bool:
    return "LOCAL_RANK" in os.environ
