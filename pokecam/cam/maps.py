"""The maps of all classes by one method, from a capture.

Maps are raw: float32, signed where the method is signed, and in the resolution of the feature
layer. Methods that read the image itself (edges, guided, PAMR) state their resolution.
`display` turns raw maps into the heatmaps that are displayed and scored.
"""

from collections.abc import Iterable, Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from pokecam.cam.capture import Capture, without_autocast
from pokecam.cam.fitting import check_method
from pokecam.cam.methods import METHODS
from pokecam.common.errors import InputError, did_you_mean
from pokecam.networks.dry_run import evaluating

# Target classes: names or indices, one or several.
Classes = str | int | Sequence[str] | Sequence[int] | Tensor | np.ndarray
# Groups of classes that look alike.
Groups = Sequence[Sequence[str] | Sequence[int]]

# The two sides of a single logit.
SIDES = ("positive", "negative")

# Gradients of several targets are computed side by side up to this size. The remaining targets
# wait, so that memory does not grow with their number.
GRADIENT_BYTES = 64 * 2**20

# Finer-CAM: the share γ of the other classes' logits that is subtracted, and the number of most
# probable other classes where no group of look-alikes names them. Zhang et al. 2025,
# arXiv 2501.11309, §4.
COMPARISON = 0.6
REFERENCES = 3


def compute_maps(
    captured: Capture,
    method: str,
    lookalikes: Groups = (),
    classes: Classes | None = None,
) -> Tensor:
    """Compute the raw maps of every class, or of some classes.

    Args:
        captured: the forward pass of N images.
        method: a name in `methods.METHODS`.
        lookalikes: groups of classes that look alike, by name or index, for the Finer-CAMs.
        classes: the M target classes, by name or index, one or several; None for all C. Maps of
            other classes are not computed, so gradient methods take the time of M gradients. Of a
            network with a single logit, "positive" is the evidence for its class, and "negative"
            the evidence against it.

    Returns:
        (N, M, h, w) float32 without a graph, in the order of `classes`; (N, 1, h, w) for a method
        that has one map for all classes (`Method.per_class`).

    Raises:
        InputError: the method does not fit the network, or it has no such class.
    """
    check_method(method, captured.classifier, parameter="method")
    entry, names = METHODS[method], captured.classifier.classes
    groups = [_check_group(group, names) for group in lookalikes]
    targets = _targets(captured.logits.detach(), names, entry.finer, groups, classes)
    if not entry.per_class:
        targets = targets[:1]
    n_at_once = len(targets)
    if entry.side_by_side:
        n_at_once = max(1, GRADIENT_BYTES // captured.features.nbytes)
    with (
        evaluating(captured.classifier),
        without_autocast(captured.x.device),
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        return torch.cat(
            [entry.function(captured, group) for group in targets.split(n_at_once)], dim=1
        )


def _targets(
    logits: Tensor,
    names: Sequence[str],
    finer: bool,
    lookalikes: Sequence[Sequence[int]],
    classes: Classes | None,
) -> Tensor:
    """Return the targets (M, N, C) of the classes."""
    if len(names) > 1:
        indices = None if classes is None else class_indices(classes, names)
        if finer:
            return finer_targets(logits, lookalikes, indices)
        return class_targets(logits, indices)
    if finer:
        raise InputError(
            "method: a Finer-CAM compares a class with others, and the network has a single logit; "
            "use cam or grad_cam"
        )
    sides = [*dict.fromkeys([*names, *SIDES])]
    indices = [0] if classes is None else class_indices(classes, sides)
    signs = [-1.0 if sides[index] == "negative" else 1.0 for index in indices]
    return torch.tensor(signs).to(logits)[:, None, None].expand(-1, *logits.shape)


def _check_group(group: Sequence[str] | Sequence[int], names: Sequence[str]) -> list[int]:
    """Return the indices of a group of classes that look alike."""
    indices = class_indices(group, names, parameter="lookalikes")
    if len(set(indices)) < 2:
        raise InputError(
            f"lookalikes: the group {list(group)} has one class; give groups of two or more"
        )
    return indices


def class_indices(
    classes: Classes, names: Sequence[str], *, parameter: str = "classes"
) -> list[int]:
    """Return the indices of target classes, if the network has these classes.

    Args:
        classes: names or indices, one or several.
        names: the names of the C classes, in the order of the logits.
        parameter: what the classes come from, for the error.

    Raises:
        InputError: there is none, or one is not a class of the network.
    """
    if isinstance(classes, Tensor | np.ndarray):
        classes = classes.tolist()
    values = (
        list(classes)
        if isinstance(classes, Iterable) and not isinstance(classes, str)
        else [classes]
    )
    if not values:
        raise InputError(f"{parameter}: none given, names or indices expected")
    return [_class_index(value, names, parameter) for value in values]


def _class_index(value: str | int, names: Sequence[str], parameter: str) -> int:
    if isinstance(value, str) and value in names:
        if names.count(value) > 1:
            indices = [i for i, name in enumerate(names) if name == value]
            raise InputError(
                f"{parameter}: {value!r} is the name of the classes {indices}: give indices"
            )
        return names.index(value)
    if isinstance(value, Tensor) and value.ndim == 0 and not value.is_floating_point():
        value = int(value)
    # A negative number, which Python would count from the end, is more often a mistake than meant.
    is_number = isinstance(value, Integral) and not isinstance(value, bool)
    if is_number and 0 <= int(value) < len(names):
        return int(value)
    hint = did_you_mean(value, names) if isinstance(value, str) else ""
    raise InputError(
        f"{parameter}: {value!r} is no class of the network.{hint} Give names, or indices from 0 "
        f"to {len(names) - 1}"
    )


def class_targets(logits: Tensor, classes: Sequence[int] | None = None) -> Tensor:
    """Return the targets that explain the logit of each class alone.

    Args:
        logits: (N, C).
        classes: the M target classes, by index; None for all C.

    Returns:
        (M, N, C). The score of target m for image n is S = Σ_c targets[m, n, c] · logits[n, c].
    """
    N, C = logits.shape
    indices = torch.tensor(range(C) if classes is None else classes, device=logits.device)
    one_hot = torch.zeros(len(indices), C, dtype=logits.dtype, device=logits.device)
    one_hot.scatter_(1, indices[:, None], 1)
    return one_hot[:, None].expand(len(indices), N, C)


def finer_targets(
    logits: Tensor, lookalikes: Sequence[Sequence[int]], classes: Sequence[int] | None = None
) -> Tensor:
    """Return the targets that explain what tells each class from those that look like it,

        S = logit_c − γ · mean of logit_d over classes d

    The classes d are the other members of the group in `lookalikes` that holds c. For a class in
    no group they are the `REFERENCES` most probable other classes of the image. Zhang et al. 2025,
    arXiv 2501.11309, eq. 5.

    Args:
        logits: (N, C).
        lookalikes: groups of class indices.
        classes: the M target classes, by index; None for all C.

    Returns:
        (M, N, C), as `class_targets` does.
    """
    targets = class_targets(logits, classes).clone()
    C = logits.shape[1]
    references = {c: [d for d in group if d != c] for group in lookalikes for c in group}
    for target, c in zip(targets, range(C) if classes is None else classes, strict=True):
        if group := references.get(c):
            target[:, group] = -COMPARISON / len(group)
            continue
        other_logits = logits.clone()
        other_logits[:, c] = -torch.inf
        nearest = other_logits.topk(min(REFERENCES, C - 1)).indices  # (N, references)
        target.scatter_(1, nearest, -COMPARISON / nearest.shape[1])
    return targets
