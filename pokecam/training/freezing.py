"""Layers that fine-tuning leaves as they are."""

from torch import nn

from pokecam.networks import layers
from pokecam.networks.classifier import Classifier

NONE, EARLY, BODY = "none", "early", "body"
EARLY_SIDE = 1 / 8  # of the picture's: layers that give maps of this side or a larger one are early


def freeze(classifier: Classifier, what: str) -> list[nn.Module]:
    """Keep part of the network from learning; return the modules of that part, whose BatchNorm
    must stay in evaluation mode.

    what: `none`, `early` (the layers next to the picture, `EARLY_SIDE`, which see edges and
        colours whatever is shown, and cost most), `body` (the head alone learns), or a layer in
        torchvision's network: it and all before it in the main line stay as they are.

    Raises `InputError` for a layer that there is not.
    """
    last: str | None = what
    if what == EARLY:
        last = layers.last_of_side(classifier, EARLY_SIDE)
    if what == NONE or last is None:
        return []
    learning = [] if what == BODY else layers.after(classifier, last, parameter="freeze")
    able = {id(module) for layer in learning for module in layer.modules()}
    still = [module for module in classifier.body.modules() if id(module) not in able]
    for module in still:
        for weight in module.parameters(recurse=False):
            weight.requires_grad_(False)
    return still
