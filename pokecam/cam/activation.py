"""Methods that need the activations and the weights of the head, but no gradient."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pokecam.cam.core import Capture


def cam(captured: "Capture", classes: Sequence[int]) -> Tensor:
    """CAM: the head's linear layer applied to every pixel instead of to their mean,

        L_c = Σ_k w_ck A_k

    so that mean(L_c) + bias = logit. Signed. Zhou et al. 2015, arXiv 1512.04150, eq. 2.

    Returns (N, len(classes), h, w) for a head of average pooling and one linear layer.
    """
    linear = captured.classifier.linear
    assert linear is not None, "methods.check refuses such a head"
    weights = linear.weight[list(classes)]  # (len(classes), K)
    return torch.einsum("ck,nkhw->nchw", weights, captured.activations)
