"""Methods that need the gradient of a score with respect to the activations.

All modules of methods use the same letters.

* A (N, K, h, w) are the activations.
* `targets` (M, N, C) define the M scores that are explained, S[m, n] = Σ_c targets[m, n, c] ·
  logit[n, c]; `maps.class_targets` and `maps.finer_targets` make them.
* g = ∂S/∂A (M, N, K, h, w) are the gradients.

Every method returns raw maps L (N, M, h, w). The ReLU that ends the papers' equations is applied
in `display`.
"""

import torch
from torch import Tensor

from pokecam.cam.capture import Capture
from pokecam.networks.device import is_out_of_memory


def grad_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Grad-CAM: channels weighted by their mean gradient,

        L = Σ_k mean(g_k) A_k

    Selvaraju et al. 2016, arXiv 1610.02391, eq. 1–2.
    """
    return weighted_sum(captured, gradients(captured, targets).mean(dim=(3, 4)))


def grad_cam_plus_plus(captured: Capture, targets: Tensor) -> Tensor:
    """Grad-CAM++: channels weighted by the sum of their positive gradients, each times its α,

        α_k = g_k² / (2 g_k² + ΣA_k · g_k³), 0 where g_k = 0
        L = Σ_k (Σ α_k relu(g_k)) A_k

    Chattopadhay et al. 2018, arXiv 1710.11063, eq. 10 and 19, with the derivatives of exp(S).
    """
    g = gradients(captured, targets)
    sums = captured.activations.sum(dim=(2, 3))[:, :, None, None]  # (N, K, 1, 1)
    # g² cancels: α relu(g) = relu(g) / (2 + ΣA · g), and g = 0 is no special case.
    denominator = 2 + sums * g
    alpha = torch.where(denominator != 0, 1 / denominator, 0)
    return weighted_sum(captured, (alpha * g.relu()).sum(dim=(3, 4)))


def hires_cam(captured: Capture, targets: Tensor) -> Tensor:
    """HiResCAM: every pixel weighted by its gradient,

        L = Σ_k g_k ⊙ A_k

    Draelos and Carin 2020, arXiv 2011.08891, eq. 4.
    """
    return torch.einsum("mnkhw,nkhw->nmhw", gradients(captured, targets), captured.activations)


def layer_cam(captured: Capture, targets: Tensor) -> Tensor:
    """LayerCAM: every pixel weighted by its gradient where that is positive,

        L = Σ_k relu(g_k) ⊙ A_k

    Jiang et al. 2021, IEEE TIP 30, eq. 5–6.
    """
    g = gradients(captured, targets).relu()
    return torch.einsum("mnkhw,nkhw->nmhw", g, captured.activations)


def xgrad_cam(captured: Capture, targets: Tensor) -> Tensor:
    """XGrad-CAM: channels weighted by the mean of their gradients, with A as the weights of the
    mean,

        L = Σ_k (Σ(g_k ⊙ A_k) / ΣA_k) A_k, weight 0 where ΣA_k = 0

    Fu et al. 2020, arXiv 2008.02312, eq. 8.
    """
    A = captured.activations
    sums = A.sum(dim=(2, 3))  # (N, K)
    products = torch.einsum("mnkhw,nkhw->mnk", gradients(captured, targets), A)
    return weighted_sum(captured, torch.where(sums != 0, products / sums, 0))


def counterfactual(captured: Capture, targets: Tensor) -> Tensor:
    """The evidence against a class: Grad-CAM of the negative gradient,

        L = −Σ_k mean(g_k) A_k

    Selvaraju et al. 2016, arXiv 1610.02391, §3.3, eq. 3.
    """
    return -grad_cam(captured, targets)


def gradients(captured: Capture, targets: Tensor) -> Tensor:
    """Compute g (M, N, K, h, w) in one backward pass through the head.

    Images do not mix in the head. So the gradient of the sum of S over the batch consists of the
    gradients of the images. The M targets are computed side by side, as a batch of such sums. A
    head of average pooling and one linear layer has the gradient targets · W / (h w).
    """
    if captured.head_is_linear and captured.leaf_is_pooled:
        return _per_pixel(captured, targets @ captured.linear_weight)
    try:
        (g,) = torch.autograd.grad(
            captured.logits, captured.leaf, targets, retain_graph=True, is_grads_batched=True
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        # An operation after the layer has gradients that cannot be batched.
        g = torch.stack(
            [
                torch.autograd.grad(captured.logits, captured.leaf, target, retain_graph=True)[0]
                for target in targets
            ]
        )
    if not captured.leaf_is_pooled:
        return captured.classifier.grid(g)
    return _per_pixel(captured, g.flatten(2))


def _per_pixel(captured: Capture, g: Tensor) -> Tensor:
    """Return the gradients at each pixel for those (M, N, K) of the means over all pixels."""
    A = captured.activations
    return (g / A[0, 0].numel())[..., None, None].expand(-1, -1, -1, *A.shape[2:])


def weighted_sum(captured: Capture, weights: Tensor) -> Tensor:
    """Return Σ_k weights_k A_k (N, M, h, w) for weights (M, N, K) of the channels."""
    return torch.einsum("mnk,nkhw->nmhw", weights, captured.activations)
