"""Whether methods fit a network."""

from collections.abc import Iterable

from pokecam.cam.methods import METHODS, check_heads
from pokecam.cam.relus import activations_other_than_relu
from pokecam.common.errors import InputError, unknown_name
from pokecam.networks.classifier import Classifier


def check_methods(names: Iterable[str], classifier: Classifier) -> None:
    """Check that methods fit a network.

    This is fast: it looks at modules, and at most runs the network on tensors without content.

    Raises:
        InputError: a method does not exist or does not fit, with the reason and what would fit.
    """
    for name in names:
        if name not in METHODS:
            raise InputError(f"cam_methods: {name} {unknown_name(name, METHODS)}")
        check_heads(
            [name],
            classifier.backbone,
            classifier.head_kind,
            has_linear_head=classifier.linear is not None,
        )
        if METHODS[name].relu_only and (reasons := activations_other_than_relu(classifier)):
            raise InputError(
                f"cam_methods: {name} is defined for networks whose activation functions are all "
                f"ReLU or ReLU6; {classifier.backbone} has {', '.join(reasons)}. Use another "
                f"method, or a backbone such as resnet18, vgg16 or mobilenet_v2"
            )
