"""Guided backpropagation: gradients to the pixels that pass a ReLU only where they are positive."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pokecam.cam.capture import Capture
from pokecam.cam.gradient import grad_cam
from pokecam.cam.relus import is_relu, is_relu6


def guided_grad_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Guided Grad-CAM: guided backpropagation ⊙ upsampled relu(Grad-CAM), and of its colour
    channels the one with the largest absolute value (Simonyan et al. 2013, arXiv 1312.6034, §3.1).

    Selvaraju et al. 2016, arXiv 1610.02391, §3.2.

    Returns (N, M, S, S), of the image's size and never negative.
    """
    coarse = F.interpolate(
        grad_cam(captured, targets).relu(), captured.x.shape[-2:], mode="bilinear"
    )
    fine = guided_backpropagation(captured.classifier, captured.x, targets)  # (M, N, 3, S, S)
    return fine.abs().amax(dim=2).transpose(0, 1) * coarse


def guided_backpropagation(classifier: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """∂S/∂x with every ReLU passing back what is positive, where its input was, and no more.

    x: (N, 3, S, S). targets: (M, N, C), as in `gradient`. ReLU and ReLU6 are seen whether they
    are modules, functions or in-place; nothing is hooked or replaced.

    Returns (M, N, 3, S, S), signed. Springenberg et al. 2014, arXiv 1412.6806, §3.4.
    """
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad(), _Guided():
        logits = classifier(x)
    results = []
    for target in targets:
        (g,) = torch.autograd.grad(logits, x, target, retain_graph=True)
        results.append(g)
    return torch.stack(results)


class _GuidedReLU(torch.autograd.Function):
    """min(max(x, 0), cap); backwards only positive gradients, and where 0 < x < cap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cap: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.cap = cap
        return x.clamp(0, cap)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad.relu() * ((x > 0) & (x < ctx.cap)), None


class _Guided(TorchFunctionMode):
    """Inside, every ReLU and ReLU6 is a `_GuidedReLU`, in-place or not."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if is_relu(func):
            return _GuidedReLU.apply(args[0], float("inf"))
        if is_relu6(func, args, kwargs or {}):
            return _GuidedReLU.apply(args[0], 6.0)
        return func(*args, **(kwargs or {}))
