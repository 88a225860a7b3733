"""Whether methods fit a network."""

from collections.abc import Iterable

import torch

from pokecam.cam.affine import functions_other_than_relu
from pokecam.cam.methods import METHODS, check_head, not_only_relu
from pokecam.common.errors import InputError, unknown_name
from pokecam.networks.classifier import Classifier
from pokecam.networks.dry_run import without_content


def check_methods(names: Iterable[str], classifier: Classifier, *, parameter: str) -> None:
    """Check that methods fit a classifier of the pipeline.

    This is fast: it looks at modules, and at most runs the network on tensors without content.

    Args:
        names: of methods.
        classifier: the network.
        parameter: what the names come from, for the error.

    Raises:
        InputError: a method does not exist or does not fit, with the reason and what would fit.
    """
    for name in names:
        check_method(name, classifier, parameter=parameter)
        if METHODS[name].relu_only:
            side = classifier.image_size
            dtype = next(classifier.parameters()).dtype
            x = torch.empty(1, 3, side, side, dtype=dtype, device="meta")
            functions = functions_other_than_relu(without_content(classifier), x)
            if functions:
                raise InputError(not_only_relu(name, parameter, classifier.backbone, functions))


def check_method(name: str, classifier: Classifier, *, parameter: str) -> None:
    """Check that a method exists and that it fits the head of a network, of the pipeline or not.

    Args:
        name: of the method.
        classifier: the network.
        parameter: what the name comes from, for the error.

    Raises:
        InputError: it does not, with the reason and what would fit.
    """
    if name not in METHODS:
        raise InputError(f"{parameter}: {name} {unknown_name(name, METHODS)}")
    check_head(
        name,
        parameter=parameter,
        network=classifier.backbone,
        has_linear_head=classifier.linear is not None,
    )
