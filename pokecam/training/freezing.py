"""Layers that fine-tuning does not change."""

from torch import nn

from pokecam.networks import layers
from pokecam.networks.classifier import Classifier

NONE, EARLY, BODY = "none", "early", "body"
EARLY_SIDE = 1 / 8  # of the side of the image: layers with maps of this side or more are early


def freeze(classifier: Classifier, selection: str, *, pretrained: bool = True) -> list[nn.Module]:
    """Freeze layers of the network.

    Args:
        classifier: its parameters are changed in place (`requires_grad`).
        selection: `none`; `early`, the layers next to the image (`EARLY_SIDE`), which respond to
            edges and colours in any image and cost most; `body`, so that only the head learns; or
            the name of a layer in the network of torchvision, to freeze it and all before it in
            the main line.
        pretrained: whether the weights are learnt. Early layers with random weights are not
            frozen.

    Returns:
        The frozen modules, whose BatchNorm must stay in evaluation mode.

    Raises:
        InputError: the network has no such layer.
    """
    last: str | None = selection
    if selection == EARLY:
        last = layers.last_of_side(classifier, EARLY_SIDE) if pretrained else None
    if selection == NONE or last is None:
        return []
    learning = [] if selection == BODY else layers.after(classifier, last, parameter="freeze")
    learning_ids = {id(module) for layer in learning for module in layer.modules()}
    frozen = [module for module in classifier.body.modules() if id(module) not in learning_ids]
    for module in frozen:
        for weight in module.parameters(recurse=False):
            weight.requires_grad_(False)
    return frozen
