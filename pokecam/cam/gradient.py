"""Methods that need the gradient of a target with respect to the activations.

Here and in the other modules of methods: A (N, K, h, w) are the activations, `targets` (M, N, C)
says what is explained, S[m, n] = Σ_c targets[m, n, c] · logit[n, c] (`core.targets`), and
g = ∂S/∂A (M, N, K, h, w). Every method returns (N, M, h, w), raw: the papers' last ReLU belongs to
`display`.
"""

import torch
from torch import Tensor

from pokecam.cam.capture import Capture


def grad_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Grad-CAM: channels weighted by their mean gradient,

        L = Σ_k mean(g_k) A_k

    Selvaraju et al. 2016, arXiv 1610.02391, eq. 1–2.
    """
    return weighted(captured, gradients(captured, targets).mean(dim=(3, 4)))


def grad_cam_plus_plus(captured: Capture, targets: Tensor) -> Tensor:
    """Grad-CAM++: channels weighted by their positive gradients, each pixel by α,

        α_k = g_k² / (2 g_k² + ΣA_k · g_k³), 0 where g_k = 0
        L = Σ_k (Σ α_k relu(g_k)) A_k

    Chattopadhay et al. 2018, arXiv 1710.11063, eq. 10, 19, with the derivatives of exp(S).
    """
    g = gradients(captured, targets)
    sums = captured.activations.sum(dim=(2, 3))[:, :, None, None]  # (N, K, 1, 1)
    # g² cancels: α relu(g) = relu(g) / (2 + ΣA · g), which needs no rule for g = 0.
    denominator = 2 + sums * g
    alpha = torch.where(denominator != 0, 1 / denominator, 0)
    return weighted(captured, (alpha * g.relu()).sum(dim=(3, 4)))


def hires_cam(captured: Capture, targets: Tensor) -> Tensor:
    """HiResCAM: every pixel weighted by its own gradient, L = Σ_k g_k ⊙ A_k.

    Draelos and Carin 2020, arXiv 2011.08891, eq. 4.
    """
    return torch.einsum("mnkhw,nkhw->nmhw", gradients(captured, targets), captured.activations)


def layer_cam(captured: Capture, targets: Tensor) -> Tensor:
    """LayerCAM: every pixel weighted by its own positive gradient, L = Σ_k relu(g_k) ⊙ A_k.

    Jiang et al. 2021, IEEE TIP 30, eq. 5–6.
    """
    g = gradients(captured, targets).relu()
    return torch.einsum("mnkhw,nkhw->nmhw", g, captured.activations)


def xgrad_cam(captured: Capture, targets: Tensor) -> Tensor:
    """XGrad-CAM: gradients averaged with the activations as weights,

        L = Σ_k (Σ(g_k ⊙ A_k) / ΣA_k) A_k, weight 0 where ΣA_k = 0

    Fu et al. 2020, arXiv 2008.02312, eq. 8.
    """
    A = captured.activations
    sums = A.sum(dim=(2, 3))  # (N, K)
    products = torch.einsum("mnkhw,nkhw->mnk", gradients(captured, targets), A)
    return weighted(captured, torch.where(sums != 0, products / sums, 0))


def counterfactual(captured: Capture, targets: Tensor) -> Tensor:
    """What speaks against the target: Grad-CAM of the negative gradient, L = −Σ_k mean(g_k) A_k.

    Selvaraju et al. 2016, arXiv 1610.02391, §3.3, eq. 3.
    """
    return -grad_cam(captured, targets)


def gradients(captured: Capture, targets: Tensor) -> Tensor:
    """Return g (M, N, K, h, w) in one backward pass through the head.

    Images do not mix in the head, so the gradient of the sum over the batch holds every
    image's own; targets go side by side, as a batch of such sums.
    """
    (g,) = torch.autograd.grad(
        captured.logits, captured.leaf, targets, retain_graph=True, is_grads_batched=True
    )
    if not captured.leaf_is_pooled:
        return captured.classifier.grid(g)
    A = captured.activations
    of_means = g.flatten(2) / A[0, 0].numel()  # (M, N, K)
    return of_means[..., None, None].expand(-1, -1, -1, *A.shape[2:])


def weighted(captured: Capture, weights: Tensor) -> Tensor:
    """Σ_k weights_k A_k: weights (M, N, K) → (N, M, h, w)."""
    return torch.einsum("mnk,nkhw->nmhw", weights, captured.activations)
