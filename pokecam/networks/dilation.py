"""Activations of a higher resolution: the last stride of a network is replaced by dilation."""

from dataclasses import dataclass

from torch import Tensor, nn

from pokecam.common.errors import InputError
from pokecam.networks.dry_run import run_without_content
from pokecam.networks.families import BACKBONES

_PROBE_PX = 256


@dataclass(frozen=True)
class _Step:
    """A convolution or pooling that ran, and the sides of its input and of its output."""

    module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
    side_in: int
    side_out: int


def refine(body: nn.Module, backbone: str) -> None:
    """Double the resolution of the activations, from a 32nd of the image to a 16th, in place.

    The last layers that halve the resolution get stride 1. Every convolution after them gets twice
    the dilation, so that it reads the same positions of the image as before (Yu and Koltun 2015,
    arXiv 1511.07122). Zhou et al. 2015, arXiv 1512.04150, §3.1 ask for a finer last layer. No
    weight changes its shape.

    Args:
        body: the network without its head. It is not changed if its activations have a 16th of
            the image already (VGG, AlexNet, SqueezeNet).
        backbone: a name in `families.BACKBONES`.

    Raises:
        InputError: the network cannot be changed in this way.
    """
    family = BACKBONES[backbone]
    if family.one_layer or family.one_size:
        raise _impossible(backbone)
    steps = _record_steps(body)
    side = steps[-1].side_out
    if _PROBE_PX / side < 24:
        return
    for step in steps:
        if step.side_in > side and step.side_out == side:
            _stop_halving(step.module, backbone)
        elif step.side_in == side and isinstance(step.module, nn.Conv2d):
            _double_dilation(step.module)
    try:
        new_side = _record_steps(body)[-1].side_out
    except RuntimeError:
        new_side = 0
    if new_side != 2 * side:
        raise _impossible(backbone)


def _record_steps(body: nn.Module) -> list[_Step]:
    """Return the convolutions and poolings of a body in the order in which they run."""
    steps: list[_Step] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        steps.append(_Step(module, inputs[0].shape[-1], output.shape[-1]))  # type: ignore[arg-type]

    hooks = [
        module.register_forward_hook(record)
        for module in body.modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
    ]
    try:
        run_without_content(body, _PROBE_PX)
    finally:
        for hook in hooks:
            hook.remove()
    return steps


def _stop_halving(module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, backbone: str) -> None:
    if isinstance(module, nn.Conv2d):
        # A kernel of even side has no central pixel: its output would be half a pixel off.
        if any(side % 2 == 0 for side in module.kernel_size):
            raise _impossible(backbone)
        module.stride = (1, 1)
        return
    module.stride = 1
    if module.kernel_size in (2, (2, 2)):
        module.kernel_size = 1


def _double_dilation(module: nn.Conv2d) -> None:
    module.dilation = tuple(2 * pixels for pixels in module.dilation)
    module.padding = tuple(2 * int(pixels) for pixels in module.padding)


def _impossible(backbone: str) -> InputError:
    return InputError(
        f"feature_stride: 16 is not possible for {backbone}, whose last stride cannot be replaced "
        f"by dilation; set it to 32, or use a family such as resnet, mobilenet or efficientnet"
    )
