"""Methods that need the activations, and at most the weights of a linear head."""

import torch
from torch import Tensor

from pokecam.cam.capture import Capture
from pokecam.cam.gradient import weighted_sum


def cam(captured: Capture, targets: Tensor) -> Tensor:
    """CAM: the linear layer of the head, applied to every pixel instead of to their mean,

        L_c = Σ_k w_ck A_k

    so that mean(L_c) + bias = logit. Zhou et al. 2015, arXiv 1512.04150, eq. 2.

    Args:
        captured: N images, of a network whose head is average pooling and one linear layer.
        targets: (M, N, C), as `maps.class_targets` gives them.

    Returns:
        (N, M, h, w).
    """
    return weighted_sum(captured, targets @ captured.linear_weight)


def eigen_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Eigen-CAM: the first principal component of the activations, the same for all classes,

        L = X v₁

    X (hw, K) holds the activations of an image, and v₁ is its first right singular vector.
    Muhammad and Yeasin 2020, arXiv 2008.00299, eq. 2–3. The mean over pixels is subtracted from X
    first, as in pytorch-grad-cam.

    The sign of v₁ is arbitrary. It is chosen so that the map rises with the mean activation of a
    pixel. Where the mean activation is the same everywhere, it is chosen so that the value with the
    largest magnitude is positive.

    Args:
        captured: N images.
        targets: not used.

    Returns:
        (N, 1, h, w).
    """
    A = captured.activations
    X = A.flatten(2).double()  # (N, K, hw)
    X = X - X.mean(dim=2, keepdim=True)
    # X v₁ = s₁ u₁, and u₁ is an eigenvector of XXᵀ (hw, hw), which is small.
    eigenvalues, vectors = torch.linalg.eigh(X.mT @ X)  # (N, hw), (N, hw, hw), ascending
    component = vectors[..., -1] * eigenvalues[:, -1:].clamp(min=0).sqrt()  # (N, hw)
    agreement = (component * X.mean(dim=1)).sum(dim=1, keepdim=True)  # (N, 1)
    # After a LayerNorm the mean activation is the same everywhere, and the agreement is 0.
    is_clear = agreement.abs() > 1e-6 * eigenvalues[:, -1:].clamp(min=0)
    peak = component.gather(1, component.abs().argmax(dim=1, keepdim=True))
    component = torch.where(torch.where(is_clear, agreement, peak) >= 0, component, -component)
    return component.view(len(A), 1, *A.shape[2:]).to(A.dtype)
