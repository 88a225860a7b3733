"""Finer activations: the last stride of a network replaced by dilation."""

from dataclasses import dataclass

from torch import Tensor, nn

from pokecam.common.errors import InputError
from pokecam.networks.backbones import BACKBONES
from pokecam.networks.dry_run import run_without_content

_PROBE_PX = 256


@dataclass(frozen=True)
class _Step:
    """One convolution or pooling as it ran, with the sides of what went in and what came out."""

    module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
    side_in: int
    side_out: int


def refine(body: nn.Module, backbone: str) -> None:
    """Double the resolution of what `body` gives, in place, if it is a 32nd of the image's.

    The last layers that halve the resolution do so no more, and every convolution after them
    looks at pixels twice as far apart, so that it sees what it saw before (Yu and Koltun 2015,
    arXiv 1511.07122; Zhou et al. 2015, arXiv 1512.04150, §3.1 ask for a finer last layer). No
    weight changes its shape. A body with a 16th already (VGG, AlexNet, SqueezeNet) is left alone.

    Raises `InputError` if the network cannot be changed so.
    """
    family = BACKBONES[backbone]
    if family.one_layer or family.one_size:
        raise _impossible(backbone)
    steps = _run(body)
    side = steps[-1].side_out
    if _PROBE_PX / side < 24:
        return
    for step in steps:
        if step.side_in > side and step.side_out == side:
            _stop_halving(step.module, backbone)
        elif step.side_in == side and isinstance(step.module, nn.Conv2d):
            _spread(step.module)
    try:
        finer = _run(body)[-1].side_out
    except RuntimeError:
        finer = 0
    if finer != 2 * side:
        raise _impossible(backbone)


def _run(body: nn.Module) -> list[_Step]:
    """The convolutions and poolings of `body` in the order in which they run."""
    steps: list[_Step] = []

    def record(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        steps.append(_Step(module, given[0].shape[-1], result.shape[-1]))  # type: ignore[arg-type]

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
        if any(side % 2 == 0 for side in module.kernel_size):  # no middle: half a pixel off
            raise _impossible(backbone)
        module.stride = (1, 1)
        return
    module.stride = 1
    if module.kernel_size in (2, (2, 2)):
        module.kernel_size = 1


def _spread(module: nn.Conv2d) -> None:
    module.dilation = tuple(2 * step for step in module.dilation)
    module.padding = tuple(2 * int(side) for side in module.padding)


def _impossible(backbone: str) -> InputError:
    return InputError(
        f"feature_stride: 16 is not possible for {backbone}, whose last stride cannot be replaced "
        f"by dilation; set it to 32, or use a family such as resnet, mobilenet or efficientnet"
    )
