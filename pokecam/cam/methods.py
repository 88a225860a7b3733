"""The table of methods: what can be put into `cam_methods`, and what each asks of a network.

No torch here: the train stage reads the table to refuse a method that does not fit before the
training starts. The function that computes a method has the method's name, in the module that
its entry says; `core.maps` calls it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from pokecam.errors import InputError
from pokecam.params import Settings, one_of

if TYPE_CHECKING:
    from pokecam.classifier import Classifier


@dataclass(frozen=True)
class Method:
    """One way to make a map.

    title: what the papers call it.
    module: where in `pokecam.cam` its function is.
    linear_head: it needs average pooling and one linear layer as the head.
    """

    title: str
    module: Literal["activation", "gradient"]
    linear_head: bool = False


METHODS = {
    "cam": Method("CAM", "activation", linear_head=True),
    "grad_cam": Method("Grad-CAM", "gradient"),
}


def _no_method_twice(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names a method twice")
    return names


class CamSettings(Settings):
    """Which maps are made."""

    cam_methods: Annotated[
        list[Annotated[str, one_of(METHODS)]], Field(min_length=1), AfterValidator(_no_method_twice)
    ]


def check(names: Iterable[str], classifier: "Classifier") -> None:
    """Raise `InputError`, with the reason and what would fit, if a method does not fit the
    classifier's network. Fast: looks at modules, runs nothing."""
    for name in names:
        if METHODS[name].linear_head and classifier.linear is None:
            fitting = [other for other in METHODS if not METHODS[other].linear_head]
            raise InputError(
                f"cam_methods: {name} needs a head of average pooling and one linear layer, which "
                f"the native head of {classifier.backbone} is not; set head to gap, or use "
                f"{', '.join(fitting)}"
            )
