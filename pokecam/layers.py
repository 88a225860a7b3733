"""The layers of a network by torchvision's names."""

import itertools

from torch import Tensor, nn

from pokecam.backbones import BACKBONES, Tokens
from pokecam.classifier import Classifier
from pokecam.errors import InputError, did_you_mean
from pokecam.modules import run_without_content


def name(classifier: Classifier) -> str:
    """The layer that maps are made of by default, as torchvision calls it: the last of the body,
    and in a vision transformer the block whose tokens the head reads."""
    return _steps(classifier.body)[-1][0]


def at(classifier: Classifier, layer: str | None) -> Classifier:
    """The same network with its body ending after `layer`, and the rest in its head.

    layer: as in `after`; None for the default. Modules are shared with `classifier`.

    Raises `InputError` for a layer that there is not, or a family whose layers cannot be chosen.
    """
    if layer is None or layer == name(classifier):
        return classifier
    if BACKBONES[classifier.backbone].one_layer:
        raise InputError(
            f"cam_layer: {layer} given, but of {classifier.backbone} only {name(classifier)} can "
            f"be used, whose activations form a grid; set cam_layer to null"
        )
    rest = after(classifier, layer, parameter="cam_layer")
    steps = [module for _, module in _steps(classifier.body)]
    return classifier.with_parts(
        nn.Sequential(*steps[: len(steps) - len(rest)]), nn.Sequential(*rest, classifier.head)
    )


def after(classifier: Classifier, layer: str, *, parameter: str) -> list[nn.Module]:
    """What runs after `layer` in the body, one after another.

    layer: a name in torchvision's network, of a layer in the main line or of a row of them such as
        `layer3`.
    parameter: where the name was given.

    Raises `InputError` for a layer that there is not.
    """
    steps = _steps(classifier.body)
    last = max((i for i, (path, _) in enumerate(steps) if _within(path, layer)), default=None)
    if last is None:
        paths = [path for path, _ in steps]
        raise InputError(
            f"{parameter}: {classifier.backbone} has no layer {layer} in its main line."
            f"{did_you_mean(layer, paths)} Its layers: {', '.join(paths)}"
        )
    return [module for _, module in steps[last + 1 :]]


def last_of_side(classifier: Classifier, least: float) -> str | None:
    """The last layer in the body's main line whose maps, and those of all layers before it, have
    at least `least` of the picture's side; None if the first has less. Tokens are no maps."""
    steps = _steps(classifier.body)
    sides: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, path=path: sides.update({path: _side(output)})
        )
        for path, module in steps
    ]
    try:
        run_without_content(classifier.body, classifier.image_size)
    finally:
        for hook in hooks:
            hook.remove()
    # A convolution without padding loses some pixels at the border.
    wanted = 0.9 * least * classifier.image_size
    large = list(itertools.takewhile(lambda path: sides.get(path, 0) >= wanted, dict(steps)))
    return large[-1] if large else None


def _side(output: Tensor) -> int:
    """Of a map, channels first (N, K, h, w) or, in Swin, last (N, h, w, K); 0 of tokens."""
    return sorted(output.shape[1:])[1] if output.ndim == 4 else 0


def _steps(module: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """The modules that run one after another, with their names: a plain `Sequential` is taken
    apart, its subclasses, which torchvision uses for blocks, are not. Of a vision transformer, the
    steps of its encoder."""
    if isinstance(module, Tokens):
        return _steps(module.encoder, "encoder")
    if type(module) is not nn.Sequential:
        return [(path, module)]
    return [
        step
        for child_name, child in module.named_children()
        for step in _steps(child, f"{path}.{child_name}" if path else child_name)
    ]


def _within(path: str, layer: str) -> bool:
    return path == layer or path.startswith(layer + ".")
