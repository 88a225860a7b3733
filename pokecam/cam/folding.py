"""A faster network that gives the same results: BatchNorm folded into convolutions."""

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import evaluating


def folded(classifier: Classifier) -> Classifier:
    """The same network for inference, where every BatchNorm that follows a convolution is part of
    that convolution's weights: W' = W γ/√(σ² + ε). `classifier` is left as it is.

    Logits agree with those in evaluation mode to about 1e-5 of their size. A body or head that
    cannot be traced (its path depends on its input) or has no BatchNorm is shared, not copied.
    """
    return classifier.with_parts(_folded(classifier.body), _folded(classifier.head))


def _folded(module: nn.Module) -> nn.Module:
    if not any(isinstance(child, nn.BatchNorm2d) for child in module.modules()):
        return module
    try:
        with evaluating(module):
            return fuse(module).to(memory_format=torch.channels_last)
    except TraceError:
        return module
