"""Methods that change something, run the network again, and see what becomes of the score."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.cam.capture import Capture
from pokecam.cam.gradient import weighted

AT_ONCE = 32  # changed copies that go through the network or its head together


def ablation_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Ablation-CAM: a channel weighs as much as the score falls without it,

        L = Σ_k (S − S without channel k) / |S| · A_k, weight 0 where S = 0

    Ramaswamy and Ramaswamy 2020 (WACV), eq. 4; the paper divides by S, which would turn the map
    over where S < 0. Only the head runs again, and for average pooling and one linear layer not
    even that: the difference is w_k · mean(A_k).

    Returns (N, M, h, w).
    """
    A = captured.activations
    if captured.head_is_linear:
        falls = targets @ captured.linear.weight * A.mean(dim=(2, 3))  # (M, N, K)
    else:
        without = torch.stack(list(_logits_without_channels(captured)))  # (N, K, C)
        falls = torch.einsum("mnc,nkc->mnk", targets, captured.logits[:, None] - without)
    scores = torch.einsum("mnc,nc->mn", targets, captured.logits).abs()[..., None]  # (M, N, 1)
    return weighted(captured, torch.where(scores > 0, falls / scores, 0))


def _logits_without_channels(captured: Capture) -> Iterator[Tensor]:
    """For each image, the logits (K, C) with one channel of what the head reads at 0."""
    channels = torch.arange(captured.activations.shape[1])
    for features in captured.features:  # (K, h, w), or tokens (T, K)
        dimension = 0 if features.ndim == 3 else 1
        parts = []
        for chosen in channels.split(AT_ONCE):
            copies = features.repeat(len(chosen), *[1] * features.ndim)
            for copy, channel in zip(copies, chosen.tolist(), strict=True):
                copy.select(dimension, channel).zero_()
            parts.append(captured.classifier.head(copies))
        yield torch.cat(parts)


def score_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Score-CAM: a channel weighs by the score of the image seen through it,

        H_k = upsampled A_k, scaled to [0, 1]; 0 where A_k is constant
        L = Σ_k softmax_k(S(x ⊙ H_k)) A_k

    Wang et al. 2020, arXiv 1910.01279, eq. 4–6. The score of the baseline image, which the paper
    takes off, is the same for all channels and so nothing to the softmax. All targets share the K
    runs of the network.

    Returns (N, M, h, w).
    """
    logits = torch.stack([_logits_through_masks(captured, n) for n in range(len(captured.x))])
    scores = torch.einsum("mnc,nkc->mnk", targets, logits)
    return weighted(captured, scores.softmax(dim=2))


def _logits_through_masks(captured: Capture, n: int) -> Tensor:
    """The logits (K, C) of image n seen through each of its channels."""
    A, x = captured.activations[n], captured.x[n]
    parts = []
    for channels in A.split(AT_ONCE):  # (≤ AT_ONCE, h, w)
        masks = enlarge(channels, x.shape[-2:])
        low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
        masks = torch.where(high > low, (masks - low) / (high - low), 0)
        parts.append(captured.logits_of(x * masks))
    return torch.cat(parts)


def enlarge(channels: Tensor, size: torch.Size) -> Tensor:
    """(n, h, w) → (n, 1, *size), bilinear with `align_corners=False`."""
    return F.interpolate(channels[:, None], size, mode="bilinear")
