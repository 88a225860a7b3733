"""The maps of all classes by one method, from a capture.

Maps are raw: float32, signed where the method is signed, and in the resolution of the feature
layer. Methods that read the image itself (edges, guided, refined) state their resolution.
`display` turns raw maps into the heatmaps that are displayed and scored.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pokecam.cam.capture import Capture, without_autocast
from pokecam.cam.fitting import check_methods
from pokecam.cam.methods import METHODS
from pokecam.networks.dry_run import evaluating

# Gradients of several targets are computed side by side up to this size. The remaining targets
# wait, so that memory does not grow with their number.
GRADIENT_BYTES = 64 * 2**20

# Finer-CAM: the share γ of the other classes' logits that is subtracted, and the number of most
# probable other classes where no group of look-alikes names them. Zhang et al. 2025,
# arXiv 2501.11309, §4.
COMPARISON = 0.6
REFERENCES = 3


def compute_maps(
    captured: Capture, method: str, lookalikes: Sequence[Sequence[int]] = ()
) -> Tensor:
    """Compute the raw maps of every class.

    Args:
        captured: the forward pass of N images.
        method: a name in `methods.METHODS`.
        lookalikes: groups of classes that look alike, by index, for the Finer-CAMs.

    Returns:
        (N, C, h, w) float32 without a graph; (N, 1, h, w) for a method that has one map for all
        classes (`Method.per_class`).

    Raises:
        InputError: the method does not fit the network.
    """
    check_methods([method], captured.classifier)
    entry = METHODS[method]
    logits = captured.logits.detach()
    targets = finer_targets(logits, lookalikes) if entry.finer else class_targets(logits)
    if not entry.per_class:
        targets = targets[:1]
    n_at_once = len(targets)
    if entry.side_by_side:
        n_at_once = max(1, GRADIENT_BYTES // captured.features.nbytes)
    with (
        evaluating(captured.classifier),
        without_autocast(logits.device),
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        return torch.cat(
            [entry.function(captured, group) for group in targets.split(n_at_once)], dim=1
        )


def class_targets(logits: Tensor) -> Tensor:
    """Return the targets that explain the logit of each class alone.

    Args:
        logits: (N, C).

    Returns:
        (C, N, C). The score of target m for image n is S = Σ_c targets[m, n, c] · logits[n, c].
    """
    N, C = logits.shape
    return torch.eye(C, dtype=logits.dtype, device=logits.device)[:, None].expand(C, N, C)


def finer_targets(logits: Tensor, lookalikes: Sequence[Sequence[int]]) -> Tensor:
    """Return the targets that explain what tells each class from those that look like it,

        S = logit_c − γ · mean of logit_d over classes d

    The classes d are the other members of the group in `lookalikes` that holds c. For a class in
    no group they are the `REFERENCES` most probable other classes of the image. Zhang et al. 2025,
    arXiv 2501.11309, eq. 5.

    Args:
        logits: (N, C).
        lookalikes: groups of class indices.

    Returns:
        (C, N, C), as `class_targets` does.
    """
    targets = class_targets(logits).clone()
    references = {c: [d for d in group if d != c] for group in lookalikes for c in group}
    for c in range(len(targets)):
        if group := references.get(c):
            targets[c, :, group] = -COMPARISON / len(group)
            continue
        other_logits = logits.clone()
        other_logits[:, c] = -torch.inf
        nearest = other_logits.topk(min(REFERENCES, len(targets) - 1)).indices  # (N, references)
        targets[c].scatter_(1, nearest, -COMPARISON / nearest.shape[1])
    return targets
