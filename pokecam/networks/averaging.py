"""The exponential moving average of a network's weights, computed while it trains."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """A copy of a network whose parameters and buffers follow those of the network,

        average ← decay · average + (1 − decay) · present

    after every step. The first step copies them.

    Args:
        network: on its device.
        decay: from 0 to 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.follow = get_ema_multi_avg_fn(decay)
        super().__init__(network, multi_avg_fn=self.follow, use_buffers=True)

    @torch.no_grad()
    def move(self, model: nn.Module) -> None:
        """Follow the network after a step, without counting the step.

        It runs on the device of the network alone, so a graph can replay it.
        """
        average, present = (
            [*network.parameters(), *network.buffers()] for network in (self.module, model)
        )
        if self.n_averaged == 0:
            torch._foreach_copy_(average, present)
            return
        for dtype in {tensor.dtype for tensor in average}:
            rows = [i for i, tensor in enumerate(average) if tensor.dtype == dtype]
            self.follow([average[i] for i in rows], [present[i] for i in rows], self.n_averaged)

    def count(self) -> None:
        """Count a step. The number is on the CPU, so that nothing waits for a GPU."""
        self.n_averaged += 1

    def update_parameters(self, model: nn.Module) -> None:
        """Follow the network after a step.

        `AveragedModel` does the same, but copies its counter to a GPU in every step, and so waits
        until the GPU has finished the step.
        """
        self.move(model)
        self.count()
