"""One capture, many maps: what all methods share.

A picture goes through the network's body once, without a graph; only the head, a few small layers,
is recorded for gradients. Every method and every class then starts from that capture::

    captured = capture(classifier, prepare(pixels))
    maps(captured, "grad_cam")  # (N, C, h, w)

Maps are raw: float32, signed where the method is signed, and of the feature layer's resolution,
but for methods that look at the picture (edges, guided, refined), whose functions say theirs.
`display` turns them into what is shown and scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from pokecam.cam import activation, baselines, gradient, guided, perturbation, refined
from pokecam.cam.methods import METHODS, check
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import evaluating

# Gradients of several targets are computed side by side up to this size; with more of them than
# fit, the rest waits, so that memory does not grow with their number.
GRADIENT_BYTES = 64 * 2**20

# Finer-CAM: how much of the other classes' logits is taken off (γ), and how many of the most
# probable others there are where no group of look-alikes says which. Zhang et al. 2025,
# arXiv 2501.11309, §4.
COMPARISON = 0.6
REFERENCES = 3

_FAMILIES = {
    "activation": activation,
    "baselines": baselines,
    "gradient": gradient,
    "guided": guided,
    "perturbation": perturbation,
    "refined": refined,
}


@dataclass(frozen=True)
class Capture:
    """What the network made of a batch of pictures.

    classifier: the network.
    x: (N, 3, S, S), the pictures.
    features: what the head reads, a copy of its own; the grid of activations itself, but in a
        transformer its tokens (N, T, K).
    leaf: where the graph that leads to the logits begins: the features, or where the head begins
        with average pooling, their means (N, K, …), for the gradient is the same at every pixel.
    logits: (N, C), one per class; float32, or float64 from such a network.
    precision: what the body computed in.
    """

    classifier: Classifier
    x: Tensor
    features: Tensor
    leaf: Tensor
    logits: Tensor
    precision: torch.dtype

    def logits_of(self, x: Tensor) -> Tensor:
        """The logits (n, C) of other pictures (n, 3, S, S), in the same precision."""
        return self.classifier.head(_run_body(self.classifier, x, self.precision))

    @cached_property
    def activations(self) -> Tensor:
        """A (N, K, h, w), what maps are made of."""
        return self.classifier.grid(self.features)

    @property
    def leaf_is_pooled(self) -> bool:
        """Whether the graph begins with the features' means."""
        return self.classifier.pool_and_rest[0] is not None

    @cached_property
    def linear(self) -> nn.Linear:
        """The head's only layer with weights; `methods.check` refuses other heads."""
        assert self.classifier.linear is not None
        return self.classifier.linear

    @property
    def head_is_linear(self) -> bool:
        """Whether the head is average pooling over A and one linear layer."""
        return self.classifier.linear is not None


def capture(classifier: Classifier, x: Tensor, precision: torch.dtype = torch.float32) -> Capture:
    """Run the network once, in evaluation mode, and keep what maps are made of.

    x: (N, 3, S, S), as `classifier.prepare` gives it. The classifier is left as it was: its
    parameters may be frozen, their `.grad` is not touched, no hook is set, every module's train
    or eval mode is restored.
    precision: float16 or bfloat16 lets the body's convolutions and products compute in that, here
        and where a method runs the network again; head and maps stay in float32. Activations that
        float16 cannot hold are computed again in float32.
    """
    with evaluating(classifier), torch.inference_mode(False), _exact(x.device):
        pool, rest = classifier.pool_and_rest
        with torch.no_grad():
            features = _run_body(classifier, x, precision).clone()
            if precision != torch.float32 and not features.isfinite().all():
                precision = torch.float32
                features = _run_body(classifier, x, precision).clone()
        with torch.enable_grad():
            leaf = (pool(features) if pool else features).detach().requires_grad_()
            # A clone, for a head that begins with an in-place operation.
            logits = at_least_float(rest(leaf.clone()))
    return Capture(classifier, x, features, leaf, logits, precision)


def _run_body(classifier: Classifier, x: Tensor, precision: torch.dtype) -> Tensor:
    with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
        return at_least_float(classifier.body(x))


def _exact(device: torch.device) -> torch.autocast:
    """Context that keeps a caller's `torch.autocast` out."""
    return torch.autocast(device.type, enabled=False)


def maps(captured: Capture, method: str, alike: Sequence[Sequence[int]] = ()) -> Tensor:
    """Compute the raw maps (N, C, h, w) float32, without a graph, of every class; (N, 1, h, w) for
    a method that has one for all classes (`Method.per_class`).

    method: a name in `methods.METHODS`.
    alike: groups of classes that look alike, by index, for the Finer-CAMs.

    Raises `InputError` if the method does not fit the network.
    """
    check([method], captured.classifier)
    return compute(captured, method, alike)


def compute(captured: Capture, method: str, alike: Sequence[Sequence[int]] = ()) -> Tensor:
    """As `maps`, for a method that is known to fit the network."""
    entry = METHODS[method]
    make = getattr(_FAMILIES[entry.module], entry.function or method)
    logits = captured.logits.detach()
    wanted = finer_targets(logits, alike) if entry.finer else targets(logits)
    at_once = len(wanted) if entry.per_class else 1
    if entry.module in ("gradient", "refined"):
        at_once = max(1, GRADIENT_BYTES // captured.features.nbytes)
    if not entry.per_class:
        wanted = wanted[:1]
    with (
        evaluating(captured.classifier),
        _exact(logits.device),
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        return torch.cat([make(captured, part) for part in wanted.split(at_once)], dim=1)


def targets(logits: Tensor) -> Tensor:
    """What is explained: every class's logit alone.

    logits: (N, C). Returns (C, N, C): the score of target m for picture n is
    S = Σ_c targets[m, n, c] · logits[n, c].
    """
    N, C = logits.shape
    return torch.eye(C, dtype=logits.dtype, device=logits.device)[:, None].expand(C, N, C)


def finer_targets(logits: Tensor, alike: Sequence[Sequence[int]]) -> Tensor:
    """What tells every class from those like it: S = logit_c − γ · mean of logit_d over classes d.

    The classes d are the others of the group in `alike` that c is in; for a class in no group, the
    picture's `REFERENCES` most probable others. Zhang et al. 2025, arXiv 2501.11309, eq. 5.

    logits: (N, C). Returns (C, N, C), as `targets` does.
    """
    result = targets(logits).clone()
    groups = {c: [d for d in group if d != c] for group in alike for c in group}
    for c in range(len(result)):
        if others := groups.get(c):
            result[c, :, others] = -COMPARISON / len(others)
            continue
        apart = logits.clone()
        apart[:, c] = -torch.inf
        nearest = apart.topk(min(REFERENCES, len(result) - 1)).indices  # (N, references)
        result[c].scatter_(1, nearest, -COMPARISON / nearest.shape[1])
    return result


def at_least_float(values: Tensor) -> Tensor:
    """float32 from less, anything more as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
