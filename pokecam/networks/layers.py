"""The layers of a network by torchvision's names."""

import itertools

from torch import Tensor, nn

from pokecam.common.errors import InputError, did_you_mean
from pokecam.networks.backbones import steps
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import run_without_content
from pokecam.networks.families import BACKBONES


def cut_at(
    classifier: Classifier, layer: str | None, *, parameter: str = "cam_layer"
) -> Classifier:
    """Move the border between body and head, so that maps are made of another layer.

    Args:
        classifier: the network.
        layer: the layer that the body shall end with, as in `after`; None for the default.
        parameter: the parameter that the name comes from, for the error.

    Returns:
        A classifier that computes the same logits and shares the modules of `classifier`.

    Raises:
        InputError: the network has no such layer, or only its default layer can be used.
    """
    if layer is None or layer == classifier.cam_layer:
        return classifier
    if BACKBONES[classifier.backbone].one_layer:
        raise InputError(
            f"{parameter}: {layer} cannot be used, because only the activations of "
            f"{classifier.cam_layer} form a grid in {classifier.backbone}; take that layer"
        )
    rest = after(classifier, layer, parameter=parameter)
    line = [module for _, module in steps(classifier.body)]
    return classifier.with_halves(
        nn.Sequential(*line[: len(line) - len(rest)]), nn.Sequential(*rest, classifier.head)
    )


def after(classifier: Classifier, layer: str, *, parameter: str) -> list[nn.Module]:
    """Return the modules that run after a layer in the main line of the body, in their order.

    Args:
        classifier: the network.
        layer: a layer of the main line, or several of them in a row such as `layer3`, by
            torchvision's name.
        parameter: the parameter that the name comes from, for the error.

    Raises:
        InputError: the network has no such layer.
    """
    line = steps(classifier.body)
    last = max((i for i, (path, _) in enumerate(line) if _is_within(path, layer)), default=None)
    if last is None:
        paths = [path for path, _ in line]
        raise InputError(
            f"{parameter}: {classifier.backbone} has no layer {layer} in its main line."
            f"{did_you_mean(layer, paths)} Choose one of its layers: {', '.join(paths)}"
        )
    return [module for _, module in line[last + 1 :]]


def last_of_side(classifier: Classifier, least: float) -> str | None:
    """Return the last layer of the main line before the resolution falls below a limit.

    Args:
        classifier: the network.
        least: the limit for the side of the activations, as a fraction of the side of the image.

    Returns:
        The name of the layer. None if the activations of the first layer are smaller already, or
        are tokens.
    """
    line = steps(classifier.body)
    sides: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, path=path: sides.update({path: _side(output)})
        )
        for path, module in line
    ]
    try:
        run_without_content(classifier.body, classifier.image_size)
    finally:
        for hook in hooks:
            hook.remove()
    # 10 % less is allowed, because a convolution without padding loses pixels at the border.
    limit = 0.9 * least * classifier.image_size
    large = list(itertools.takewhile(lambda path: sides.get(path, 0) >= limit, dict(line)))
    return large[-1] if large else None


def _side(output: Tensor) -> int:
    """Return the side of activations (N, K, h, w), or (N, h, w, K) in Swin; 0 for tokens."""
    return sorted(output.shape[1:])[1] if output.ndim == 4 else 0


def _is_within(path: str, layer: str) -> bool:
    return path == layer or path.startswith(layer + ".")
