"""One forward pass, from which every method and every class starts.

The body of the network runs once for a batch of images, without a graph. Only the head, which is
a few small layers, is recorded for gradients::

    captured = capture(classifier, prepare(pixels))
    compute_maps(captured, "grad_cam")  # (N, C, h, w)
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pokecam.cam.inputs import check_images
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import evaluating


@dataclass(frozen=True)
class Capture:
    """What a network computes for a batch of images, and all that maps need of it.

    Attributes:
        classifier: the network.
        x: (N, 3, S, S), the images.
        features: what the head reads, in a tensor of its own: the grid of activations, or in a
            transformer its tokens (N, T, K).
        leaf: where the graph that leads to the logits begins. It is the features, or, where the
            head begins with average pooling, their means (N, K, …): the gradient is the same at
            every pixel then.
        logits: (N, C), one for each class; float32, or float64 from a network in float64.
    """

    classifier: Classifier
    x: Tensor
    features: Tensor
    leaf: Tensor
    logits: Tensor

    def logits_of(self, x: Tensor) -> Tensor:
        """Return the logits (n, C) of other images (n, 3, S, S)."""
        features = _run_body(self.classifier, x.to(self.x.dtype))
        return at_least_float32(self.classifier.head(features))

    @cached_property
    def activations(self) -> Tensor:
        """A (N, K, h, w), what maps are made of."""
        return self.classifier.grid(self.features)

    @cached_property
    def channel_dimension(self) -> int:
        """The dimension of the features of one image that holds the channels."""
        shape = self.features.shape[1:]
        positions = torch.arange(shape.numel(), dtype=torch.float64).view(1, *shape)
        grid = self.classifier.grid(positions)[0]  # where each element of A stands in the features
        if len(grid) == 1:
            return shape.index(1)
        step = int(grid[1, 0, 0] - grid[0, 0, 0])
        return torch.empty(shape).stride().index(step)

    @property
    def leaf_is_pooled(self) -> bool:
        """Whether the graph begins with the means of the features."""
        return self.classifier.pool_and_rest[0] is not None

    @cached_property
    def linear_weight(self) -> Tensor:
        """The weight (C, K) of the only layer with weights of the head, in the type of the logits;
        `fitting.check_method` refuses other heads."""
        assert self.classifier.linear is not None
        return self.classifier.linear.weight.detach().to(self.logits.dtype)

    @property
    def head_is_linear(self) -> bool:
        """Whether the head is average pooling over A and one linear layer."""
        return self.classifier.linear is not None


def capture(classifier: Classifier, x: Tensor) -> Capture:
    """Run the network once, in evaluation mode, and keep what maps are made of.

    The classifier is left as it was: its parameters may be frozen, their `.grad` is not touched,
    no hook is set, and the training or evaluation mode of every module is restored.

    Args:
        classifier: the network.
        x: (N, 3, S, S), as `classifier.prepare` gives it, in the type of the network.

    Raises:
        InputError: x is not a batch of finite images.
    """
    check_images(x)
    classifier.adapt_to(x)
    with evaluating(classifier), torch.inference_mode(False), without_autocast(x.device):
        pool, rest = classifier.pool_and_rest
        with torch.no_grad():
            features = _run_body(classifier, x).clone()
        with torch.enable_grad():
            leaf = (pool(features) if pool else features).detach().requires_grad_()
            # A clone, for a head that begins with an in-place operation.
            logits = at_least_float32(rest(leaf.clone()))
    return Capture(classifier, x, features, leaf, logits)


def without_autocast(device: torch.device) -> torch.autocast:
    """Return a context that switches off the `torch.autocast` of a caller."""
    return torch.autocast(device.type, enabled=False)


def at_least_float32(values: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; leave float32 and float64 as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _run_body(classifier: Classifier, x: Tensor) -> Tensor:
    return at_least_float32(classifier.body(x))
