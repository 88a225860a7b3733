"""A faster gradient, on CPUs, of depthwise convolutions over small maps: tap by tap.

For 64 images on one core, oneDNN's gradient of a 5 × 5 depthwise convolution over 576 maps of 3 × 3
pixels takes 59 ms, 40 % of a training step of mobilenet_v3_small. 25 products of shifted maps take
16 ms. Parameters and their names do not change. Results change only by rounding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 5
LARGEST_MAP_PX = 4  # for larger maps oneDNN is faster


def use_tap_gradients(network: nn.Module) -> None:
    """Change a network in place, so that depthwise convolutions over small maps compute their
    gradient tap by tap.

    That concerns 5 × 5 convolutions without stride, dilation or bias that keep the size of the map.
    """
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.groups == module.in_channels == module.out_channels
            and module.kernel_size == (KERNEL, KERNEL)
            and module.stride == module.dilation == (1, 1)
            and module.padding == (KERNEL // 2, KERNEL // 2)
            and module.bias is None
        ):
            module.forward = _Forward(module)  # type: ignore[method-assign, assignment]


class _Forward:
    """The `forward` of a changed convolution."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        self._convolution = convolution

    def __call__(self, x: Tensor) -> Tensor:
        weight = self._convolution.weight
        if max(x.shape[2:]) > LARGEST_MAP_PX or not torch.is_grad_enabled():
            return _convolve(x, weight)
        return _ByTaps.apply(x, weight)


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=KERNEL // 2, groups=len(weight))


class _ByTaps(torch.autograd.Function):
    """x (N, C, h, w), weight (C, 1, 5, 5) → (N, C, h, w)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        height, width = x.shape[2:]
        margin = KERNEL // 2
        # With channels last, every tap is one pass over contiguous memory.
        g = gradient.permute(0, 2, 3, 1).contiguous()  # (N, h, w, C)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, margin, margin, margin, margin))
        padded_gradient = torch.zeros_like(padded)
        taps = weight.flatten(1).t().contiguous()  # (25, C)
        taps_gradient = torch.empty_like(taps)
        for tap in range(KERNEL**2):
            i, j = divmod(tap, KERNEL)
            window = (slice(None), slice(i, i + height), slice(j, j + width))
            taps_gradient[tap] = (padded[window] * g).sum(dim=(0, 1, 2))
            padded_gradient[window].addcmul_(g, taps[tap])
        inside = slice(margin, margin + height), slice(margin, margin + width)
        x_gradient = padded_gradient[:, *inside].permute(0, 3, 1, 2)
        return x_gradient, taps_gradient.t().reshape(weight.shape)
