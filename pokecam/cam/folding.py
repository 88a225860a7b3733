"""A faster network that gives the same results: BatchNorm is folded into convolutions."""

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import evaluating


def fold_batchnorm(classifier: Classifier) -> Classifier:
    """Return the same network for inference, with every BatchNorm folded into the convolution
    before it,

        W' = W γ / √(σ² + ε)

    Logits agree with those in evaluation mode to about 1e-5 of their size.

    Args:
        classifier: the network. It is not changed. A body or head is shared with the result, not
            copied, if it has no BatchNorm or cannot be traced (its path depends on its input).
    """
    return classifier.with_halves(_fold(classifier.body), _fold(classifier.head))


def _fold(module: nn.Module) -> nn.Module:
    if not any(isinstance(child, nn.BatchNorm2d) for child in module.modules()):
        return module
    try:
        with evaluating(module):
            return fuse(module).to(memory_format=torch.channels_last)
    except TraceError:
        return module
