"""BatchNorm only during pretraining, for networks that have none: AlexNet, VGG, SqueezeNet.

Without it the learning rate and its warm-up would have to be found anew for each of them.
`add_batchnorm` puts one behind every convolution. After the training `fold_batchnorm` computes the
convolutions of the plain network that give the same features in evaluation mode,

    W' = W γ / √(σ² + ε),   b' = (b − μ) γ / √(σ² + ε) + β

Parameters then have torchvision's names again.
"""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

NORMALISATION = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


class NormalisedConvolution(nn.Sequential):
    """A convolution and its BatchNorm, in the place of the convolution."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(convolution, nn.BatchNorm2d(convolution.out_channels))

    def folded(self) -> nn.Conv2d:
        """Return the one convolution that gives the same in evaluation mode."""
        convolution, batchnorm = self
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(batchnorm, nn.BatchNorm2d)
        return fuse_conv_bn_eval(convolution, batchnorm)


def add_batchnorm(body: nn.Module) -> None:
    """Put a BatchNorm behind every convolution, in place, if the body has no normalisation."""
    if any(isinstance(module, NORMALISATION) for module in body.modules()):
        return
    for parent, name, child in _children(body):
        if isinstance(child, nn.Conv2d):
            parent.add_module(name, NormalisedConvolution(child))


def fold_batchnorm(body: nn.Module) -> nn.Module:
    """Return a copy of a body without what `add_batchnorm` has added, for evaluation.

    Its features agree with those of the body in evaluation mode to rounding.
    """
    folded = copy.deepcopy(body).eval()
    for parent, name, child in _children(folded):
        if isinstance(child, NormalisedConvolution):
            parent.add_module(name, child.folded())
    return folded


def _children(body: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Return all modules below a body as (parent, name in the parent, module)."""
    return [
        (parent, name, child)
        for parent in body.modules()
        for name, child in parent.named_children()
    ]
