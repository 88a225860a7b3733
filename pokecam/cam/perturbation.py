"""Methods that change activations or image, run the network again, and compare the scores."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pokecam.cam.capture import Capture, at_least_float32
from pokecam.cam.gradient import weighted_sum

AT_ONCE = 32  # changed copies in one batch of the network or its head


def ablation_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Ablation-CAM: channels weighted by the fall of the score without the channel,

        L = Σ_k (S − S without channel k) A_k

    Ramaswamy and Ramaswamy 2020 (WACV), eq. 4, without their division by S. The quotient has the
    same heatmap where S > 0, a reversed one where S < 0, and none where S = 0. Near 0 it is
    of any size, so maps of different classes could not be subtracted or compared. Only the head
    runs again. A head of average pooling and one linear layer need not run at all, because the
    fall is w_k · mean(A_k).

    Args:
        captured: N images.
        targets: (M, N, C), as in `gradient`.

    Returns:
        (N, M, h, w).
    """
    A = captured.activations
    if captured.head_is_linear:
        falls = targets @ captured.linear_weight * A.mean(dim=(2, 3))  # (M, N, K)
    else:
        logits = torch.stack(list(_logits_without_channels(captured)))  # (N, K, C)
        falls = torch.einsum("mnc,nkc->mnk", targets, captured.logits[:, None] - logits)
    return weighted_sum(captured, falls)


def _logits_without_channels(captured: Capture) -> Iterator[Tensor]:
    """Yield for each image the logits (K, C) with one channel of the features set to 0."""
    channels = torch.arange(captured.activations.shape[1])
    dimension = captured.channel_dimension
    for features in captured.features:  # (K, h, w), (h, w, K) or tokens (T, K)
        logits = []
        for chunk in channels.split(AT_ONCE):
            copies = features.repeat(len(chunk), *[1] * features.ndim)
            for copy, channel in zip(copies, chunk.tolist(), strict=True):
                copy.select(dimension, channel).zero_()
            logits.append(at_least_float32(captured.classifier.head(copies)))
        yield torch.cat(logits)


def score_cam(captured: Capture, targets: Tensor) -> Tensor:
    """Score-CAM: channels weighted by the score of the image masked by the channel,

        H_k = upsampled A_k, scaled to [0, 1]; 0 where A_k is constant
        L = Σ_k softmax_k(S(x ⊙ H_k)) A_k

    Wang et al. 2020, arXiv 1910.01279, eq. 4–6. The paper subtracts the score of a baseline image.
    It is the same for all channels, so it does not change the softmax and is left out here. All
    targets share the K runs of the network.

    Args:
        captured: N images.
        targets: (M, N, C), as in `gradient`.

    Returns:
        (N, M, h, w).
    """
    logits = torch.stack([_logits_through_masks(captured, n) for n in range(len(captured.x))])
    scores = torch.einsum("mnc,nkc->mnk", targets, logits)
    return weighted_sum(captured, scores.softmax(dim=2))


def _logits_through_masks(captured: Capture, n: int) -> Tensor:
    """Return the logits (K, C) of image n, masked by each of its channels."""
    A, x = captured.activations[n], captured.x[n]
    logits = []
    for channels in A.split(AT_ONCE):  # (≤ AT_ONCE, h, w)
        masks = enlarge(channels, x.shape[-2:])
        low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
        masks = torch.where(high > low, (masks - low) / (high - low), 0)
        logits.append(captured.logits_of(x * masks))
    return torch.cat(logits)


def enlarge(channels: Tensor, size: torch.Size) -> Tensor:
    """Upsample (n, h, w) → (n, 1, *size), bilinearly with `align_corners=False`."""
    return F.interpolate(channels[:, None], size, mode="bilinear")
