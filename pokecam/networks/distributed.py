"""Several processes that share the work of one stage, on several GPUs or hosts.

Only this module knows how the processes are started and how they communicate, which is by Hugging
Face accelerate. The names are those of `torch.distributed`.
"""

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
_LAUNCHER = "POKECAM_LAUNCHER"  # set for the launcher, so that its processes do not launch again
CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes that do the work of a stage together; by default this process alone.

    Attributes:
        index: the number of this process. Process 0 is the main process: it alone writes files
            and reports.
        count: the number of processes.
        device: the device that this process computes on.
        accelerator: `accelerate.Accelerator`, where there are several processes.
    """

    index: int = 0
    count: int = 1
    device: torch.device = CPU
    accelerator: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this is the main process."""
        return self.index == 0

    def share(self, n: int) -> slice:
        """Return which of n items belong to this process: consecutive ones, the same number for
        every process to within one."""
        return self._shares(n)[self.index]

    def _shares(self, n: int) -> list[slice]:
        bounds = [n * i // self.count for i in range(self.count + 1)]
        return [slice(start, end) for start, end in pairwise(bounds)]

    def all_gather(self, tensor: Tensor, n: int) -> Tensor:
        """Concatenate the shares of all processes in order, for every process.

        Args:
            tensor: (n_share, …), the share of this process.
            n: the number of items of all processes.

        Returns:
            (n, …), on the device of `tensor`.
        """
        if self.count == 1:
            return tensor
        from accelerate.utils import gather

        sizes = [share.stop - share.start for share in self._shares(n)]
        padded = F.pad(tensor, (0, 0) * (tensor.ndim - 1) + (0, max(sizes) - len(tensor)))
        shares = gather(padded.to(self.device)).split(max(sizes))
        gathered = torch.cat([share[:size] for share, size in zip(shares, sizes, strict=True)])
        return gathered.to(tensor.device)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        return self.all_gather(tensor[None], self.count).sum(dim=0)

    def broadcast_object(self, value: T) -> T:
        """Return the value that the main process holds; for what is no tensor."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors in place with those of the main process."""
        if self.count > 1:
            from accelerate.utils import broadcast

            for tensor in tensors:
                tensor.copy_(broadcast(tensor.contiguous()))

    def data_parallel(self, network: nn.Module) -> nn.Module:
        """Wrap a network so that every process starts with the weights of the main process, and
        gradients are the mean over all processes."""
        return self.accelerator.prepare_model(network) if self.count > 1 else network

    def no_sync(self, network: nn.Module) -> AbstractContextManager:
        """Return a context in which gradients of a `data_parallel` network accumulate locally.

        The next backward pass outside the context adds to them and averages the sum over all
        processes.
        """
        return self.accelerator.no_sync(network) if self.count > 1 else nullcontext()


SINGLE_PROCESS = Team()


def run(main: Callable[[], object]) -> None:
    """Run a stage that can be shared, in as many processes as `LAUNCH` asks for."""
    options = os.environ.get(LAUNCH, "").strip()
    if options and not _is_launched() and _LAUNCHER not in os.environ:
        stage = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
        launcher = [sys.executable, "-m", "accelerate.commands.launch", *shlex.split(options)]
        sys.stderr.flush()
        os.environ[_LAUNCHER] = "1"
        os.execv(sys.executable, [*launcher, "--module", stage])
    running.run(lambda: _run_if_launched(main, options))


def _run_if_launched(main: Callable[[], object], options: str) -> None:
    """Run `main`.

    Raises:
        InputError: several processes were asked for, and this one knows of no others.
    """
    if options and not _is_launched():
        raise InputError(
            f"{LAUNCH}={options}: that is one process; for several, on CPUs too, it takes "
            "--multi_gpu --num_processes N (for one, leave it unset)"
        )
    main()
    # Without this, PyTorch may abort the process when it ends: a thread of the group still runs.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def join_team(device_name: str) -> Team:
    """Return the processes that were started together with this one, each with its device."""
    picked = device.pick_device(device_name)
    if not _is_launched():
        return Team(device=picked)
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=picked.type == "cpu")
    return Team(
        accelerator.process_index,
        accelerator.num_processes,
        picked if picked.type == "cpu" else accelerator.device,
        accelerator,
    )


def _is_launched() -> bool:
    return "LOCAL_RANK" in os.environ
