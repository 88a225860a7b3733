"""Methods that need the activations, and at most the weights of a linear head."""

import torch
from torch import Tensor

from pokecam.cam.capture import Capture
from pokecam.cam.gradient import weighted


def cam(captured: Capture, targets: Tensor) -> Tensor:
    """CAM: the head's linear layer applied to every pixel instead of to their mean,

        L_c = Σ_k w_ck A_k

    so that mean(L_c) + bias = logit. Zhou et al. 2015, arXiv 1512.04150, eq. 2.

    Returns (N, M, h, w), for a head of average pooling and one linear layer.
    """
    return weighted(captured, targets @ captured.linear.weight)


def eigen_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Eigen-CAM: the first principal component of the pixels' activations, the same for all
    classes.

    With X (hw, K) the activations of an image less their mean over its pixels, L = X v₁, v₁ the
    first right singular vector. Muhammad and Yeasin 2020, arXiv 2008.00299, eq. 2–3; that the
    mean is taken off first follows pytorch-grad-cam. The sign, which is arbitrary, makes the map
    rise with the mean activation, or where that does not vary, makes its largest value positive.

    Returns (N, 1, h, w).
    """
    A = captured.activations
    X = A.flatten(2).double()  # (N, K, hw)
    X = X - X.mean(dim=2, keepdim=True)
    # X v₁ = s₁ u₁, from the small matrix of products between pixels.
    eigenvalues, vectors = torch.linalg.eigh(X.mT @ X)  # (N, hw), (N, hw, hw), ascending
    component = vectors[..., -1] * eigenvalues[:, -1:].clamp(min=0).sqrt()  # (N, hw)
    agreement = (component * X.mean(dim=1)).sum(dim=1, keepdim=True)  # (N, 1)
    # After a LayerNorm the mean activation is the same everywhere, and agrees with nothing.
    certain = agreement.abs() > 1e-6 * eigenvalues[:, -1:].clamp(min=0)
    peak = component.gather(1, component.abs().argmax(dim=1, keepdim=True))
    component = torch.where(torch.where(certain, agreement, peak) >= 0, component, -component)
    return component.view(len(A), 1, *A.shape[2:]).to(A.dtype)
