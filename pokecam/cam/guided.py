"""Guided backpropagation: gradients of the pixels that pass a ReLU only where they are positive."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pokecam.cam.affine import functions_other_than_relu, is_in_place, is_relu, is_relu6
from pokecam.cam.capture import Capture, at_least_float32
from pokecam.cam.gradient import grad_cam
from pokecam.cam.methods import not_only_relu
from pokecam.common.errors import InputError
from pokecam.networks.device import is_out_of_memory


def guided_grad_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Guided Grad-CAM: the guided gradient G of the pixels, multiplied by upsampled Grad-CAM,

        L = max over colours of |G| ⊙ upsampled relu(Grad-CAM)

    Selvaraju et al. 2016, arXiv 1610.02391, §3.2. The maximum over colours is that of Simonyan et
    al. 2013, arXiv 1312.6034, §3.1.

    Args:
        captured: N images, of a network whose activation functions are all ReLU or ReLU6.
        targets: (M, N, C), as in `gradient`.

    Returns:
        (N, M, S, S), in the size of the image and never negative.

    Raises:
        InputError: the network has other activation functions, or no gradient reaches the image.
    """
    functions = functions_other_than_relu(captured.classifier, captured.x[:1])
    if functions:
        raise InputError(
            not_only_relu("guided_grad_cam", "method", captured.classifier.backbone, functions)
        )
    coarse = F.interpolate(
        grad_cam(captured, targets).relu(), captured.x.shape[-2:], mode="bilinear"
    )
    fine = guided_backpropagation(captured.classifier, captured.x, targets)  # (M, N, 3, S, S)
    return fine.abs().amax(dim=2).transpose(0, 1) * coarse


def guided_backpropagation(classifier: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """Compute ∂S/∂x, where every ReLU lets only positive gradients through, and only where its
    input was positive.

    Springenberg et al. 2014, arXiv 1412.6806, §3.4. ReLU and ReLU6 are recognised as modules, as
    functions and in place. No hook is set and no module is replaced.

    Args:
        classifier: the network.
        x: (N, 3, S, S), its input.
        targets: (M, N, C), as in `gradient`.

    Returns:
        (M, N, 3, S, S), signed.
    """
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad(), _GuidedMode():
        logits = classifier(x)
    gradients = []
    try:
        for target in targets:
            (g,) = torch.autograd.grad(logits, x, target.to(logits.dtype), retain_graph=True)
            gradients.append(at_least_float32(g))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            "method: guided_grad_cam needs gradients of the image, which do not reach it; use "
            "another method, or remove what stops them (`no_grad`, `detach`, a checkpoint)"
        ) from None
    return torch.stack(gradients)


class _GuidedReLU(torch.autograd.Function):
    """min(max(x, 0), cap), whose backward pass keeps positive gradients where 0 < x < cap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cap: float) -> Tensor:
        # Not x, which the network may overwrite.
        ctx.save_for_backward((x > 0) & (x < cap))
        return x.clamp(0, cap)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (passes,) = ctx.saved_tensors
        return grad.relu() * passes, None


class _GuidedMode(TorchFunctionMode):
    """A context in which every ReLU and ReLU6, in place or not, is a `_GuidedReLU`."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_relu(func):
            cap = float("inf")
        elif is_relu6(func, args, kwargs):
            cap = 6.0
        else:
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        guided = _GuidedReLU.apply(x, cap)
        if not is_in_place(func, args, kwargs):
            return guided
        # The network may go on with x and leave what is returned.
        return x.copy_(guided)
