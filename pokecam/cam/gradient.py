"""Methods that need the gradient of the logits with respect to the activations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pokecam.cam.core import Capture


def grad_cam(captured: "Capture", classes: Sequence[int]) -> Tensor:
    """Grad-CAM: channels weighted by their mean gradient,

        L_c = Σ_k mean(∂S_c/∂A_k) A_k

    Signed: the paper's ReLU belongs to `display`. Selvaraju et al. 2016, arXiv 1610.02391, eq. 1–2.

    Returns (N, len(classes), h, w).
    """
    weights = gradients(captured, classes).mean(dim=(3, 4))  # (len(classes), N, K)
    return torch.einsum("cnk,nkhw->nchw", weights, captured.activations)


def gradients(captured: "Capture", classes: Sequence[int]) -> Tensor:
    """Return g = ∂S_c/∂A (len(classes), N, K, h, w) in one backward pass through the head.

    Pictures do not mix in the head, so the gradient of the sum of a class's logits over the batch
    holds every picture's own; classes go side by side as a batch of such sums.
    """
    logits = captured.logits  # (N, C)
    chosen = torch.eye(logits.shape[1], device=logits.device)[list(classes)]  # (len(classes), C)
    one_hot = chosen[:, None, :].expand(-1, len(logits), -1)  # (len(classes), N, C)
    (g,) = torch.autograd.grad(
        logits, captured.activations, one_hot, retain_graph=True, is_grads_batched=True
    )
    return g
