"""The layers of a network by torchvision's names."""

import itertools

from torch import Tensor, nn

from pokecam.common.errors import InputError, did_you_mean
from pokecam.networks.backbones import BACKBONES, steps
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import run_without_content


def at(classifier: Classifier, layer: str | None) -> Classifier:
    """The same network with its body ending after `layer`, and the rest in its head.

    layer: as in `after`; None for the default. Modules are shared with `classifier`.

    Raises `InputError` for a layer that there is not, or a family whose layers cannot be chosen.
    """
    if layer is None or layer == classifier.cam_layer:
        return classifier
    if BACKBONES[classifier.backbone].one_layer:
        raise InputError(
            f"cam_layer: {layer} given, but of {classifier.backbone} only "
            f"{classifier.cam_layer} can be used, whose activations form a grid; set cam_layer "
            f"to null"
        )
    rest = after(classifier, layer, parameter="cam_layer")
    line = [module for _, module in steps(classifier.body)]
    return classifier.with_parts(
        nn.Sequential(*line[: len(line) - len(rest)]), nn.Sequential(*rest, classifier.head)
    )


def after(classifier: Classifier, layer: str, *, parameter: str) -> list[nn.Module]:
    """What runs after `layer` in the body, one after another.

    layer: a name in torchvision's network, of a layer in the main line or of a row of them such as
        `layer3`.
    parameter: where the name was given.

    Raises `InputError` for a layer that there is not.
    """
    line = steps(classifier.body)
    last = max((i for i, (path, _) in enumerate(line) if _within(path, layer)), default=None)
    if last is None:
        paths = [path for path, _ in line]
        raise InputError(
            f"{parameter}: {classifier.backbone} has no layer {layer} in its main line."
            f"{did_you_mean(layer, paths)} Its layers: {', '.join(paths)}"
        )
    return [module for _, module in line[last + 1 :]]


def last_of_side(classifier: Classifier, least: float) -> str | None:
    """The last layer in the body's main line whose maps, and those of all layers before it, have
    at least `least` of the image's side; None if the first has less. Tokens are no maps."""
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
    # A convolution without padding loses some pixels at the border.
    wanted = 0.9 * least * classifier.image_size
    large = list(itertools.takewhile(lambda path: sides.get(path, 0) >= wanted, dict(line)))
    return large[-1] if large else None


def _side(output: Tensor) -> int:
    """Of a map, channels first (N, K, h, w) or, in Swin, last (N, h, w, K); 0 of tokens."""
    return sorted(output.shape[1:])[1] if output.ndim == 4 else 0


def _within(path: str, layer: str) -> bool:
    return path == layer or path.startswith(layer + ".")
