"""Which layer the maps are made of."""

from torch import nn

from pokecam.backbones import BACKBONES, Tokens
from pokecam.classifier import Classifier
from pokecam.errors import InputError, did_you_mean


def name(classifier: Classifier) -> str:
    """The layer that maps are made of by default, as torchvision calls it: the last of the body,
    and in a vision transformer the block whose tokens the head reads."""
    return _steps(classifier.body)[-1][0]


def at(classifier: Classifier, layer: str | None) -> Classifier:
    """The same network with its body ending after `layer`, and the rest in its head.

    layer: a name in torchvision's network, of a layer in the main line or of a row of them such as
        `layer3`; None for the default. Modules are shared with `classifier`.

    Raises `InputError` for a layer that there is not, or a family whose layers cannot be chosen.
    """
    if layer is None or layer == name(classifier):
        return classifier
    steps = _steps(classifier.body)
    if BACKBONES[classifier.backbone].one_layer:
        raise InputError(
            f"cam_layer: {layer} given, but of {classifier.backbone} only {steps[-1][0]} can be "
            f"used, whose activations form a grid; set cam_layer to null"
        )
    last = max((i for i, (path, _) in enumerate(steps) if _within(path, layer)), default=None)
    if last is None:
        paths = [path for path, _ in steps]
        raise InputError(
            f"cam_layer: {classifier.backbone} has no layer {layer} in its main line."
            f"{did_you_mean(layer, paths)} Its layers: {', '.join(paths)}"
        )
    return classifier.with_parts(
        nn.Sequential(*(module for _, module in steps[: last + 1])),
        nn.Sequential(*(module for _, module in steps[last + 1 :]), classifier.head),
    )


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
