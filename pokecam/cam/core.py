"""One capture, many maps: what all methods share.

A picture goes through the network's body once, without a graph; only the head, a few small layers,
is recorded for gradients. Every method and every class then starts from that capture::

    captured = capture(classifier, prepare(pixels))
    maps(captured, "grad_cam")  # (N, C, h, w)

Maps are raw: of the feature layer's resolution, float32, signed where the method is signed.
`display` turns them into what is shown and scored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pokecam.cam import activation, gradient
from pokecam.cam.methods import METHODS, check
from pokecam.classifier import Classifier

# Gradients of several classes are computed side by side up to this size; with more classes than
# fit, the rest waits, so that memory does not grow with their number.
GRADIENT_BYTES = 64 * 2**20

_FAMILIES = {"activation": activation, "gradient": gradient}


@dataclass(frozen=True)
class Capture:
    """What the network made of a batch of pictures.

    classifier: the network.
    activations: (N, K, h, w) float32, A: what the head reads, a copy of its own and a leaf of
        the graph that leads to the logits.
    logits: (N, C) float32, S, one per class.
    """

    classifier: Classifier
    activations: Tensor
    logits: Tensor


def capture(classifier: Classifier, x: Tensor) -> Capture:
    """Run the network once, in evaluation mode, and keep what maps are made of.

    x: (N, 3, S, S), as `classifier.prepare` gives it. The classifier is left as it was: its
    parameters may be frozen, their `.grad` is not touched, no hook is set, every module's train
    or eval mode is restored.
    """
    with evaluating(classifier), torch.inference_mode(False):
        with torch.no_grad():
            A = classifier.body(x).float().clone()
        A.requires_grad_()
        with torch.enable_grad():
            # A clone, for a head that begins with an in-place operation.
            logits = classifier.head(A.clone()).float()
    return Capture(classifier, A, logits)


def maps(captured: Capture, method: str) -> Tensor:
    """Compute the raw maps (N, C, h, w) float32, without a graph, of every class.

    method: a name in `methods.METHODS`.

    Raises `InputError` if the method does not fit the network.
    """
    check([method], captured.classifier)
    compute = getattr(_FAMILIES[METHODS[method].module], method)
    n_classes = captured.logits.shape[1]
    bytes_per_class = captured.activations.numel() * captured.activations.element_size()
    at_once = max(1, GRADIENT_BYTES // bytes_per_class)
    with torch.inference_mode(False):
        parts = [
            compute(captured, range(first, min(first + at_once, n_classes))).detach()
            for first in range(0, n_classes, at_once)
        ]
    return torch.cat(parts, dim=1)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and its children into evaluation mode; at the end each has its own mode back."""
    modes = [(child, child.training) for child in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for child, mode in modes:
            child.training = mode
