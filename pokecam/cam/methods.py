"""The table of methods: what can be put into `cam_methods`, and what each asks of a network.

No torch here: what only reads the table need not wait for it. The function that computes a method
is in the module that its entry says; `core.maps` calls it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from pokecam.common.errors import InputError, unknown
from pokecam.common.params import Settings, one_of

if TYPE_CHECKING:
    from pokecam.networks.classifier import Classifier


@dataclass(frozen=True)
class Method:
    """One way to make a map.

    title: what the papers call it.
    module: where in `pokecam.cam` its function is.
    function: the function's name, "" for the method's own.
    linear_head: it needs average pooling and one linear layer as the head.
    relu_only: it needs a network whose activation functions are all ReLU or ReLU6.
    per_class: every class has a map of its own; otherwise one map is for all.
    finer: it explains what tells a class from those that look like it (`core.finer_targets`),
        not the class's logit alone.
    against: it shows what speaks against the class.
    """

    title: str
    module: Literal["activation", "gradient", "perturbation", "guided", "refined", "baselines"]
    function: str = ""
    linear_head: bool = False
    relu_only: bool = False
    per_class: bool = True
    finer: bool = False
    against: bool = False


METHODS = {
    "cam": Method("CAM", "activation", linear_head=True),
    "grad_cam": Method("Grad-CAM", "gradient"),
    "grad_cam_plus_plus": Method("Grad-CAM++", "gradient"),
    "hires_cam": Method("HiResCAM", "gradient"),
    "layer_cam": Method("LayerCAM", "gradient"),
    "xgrad_cam": Method("XGrad-CAM", "gradient"),
    "eigen_cam": Method("Eigen-CAM", "activation", per_class=False),
    "score_cam": Method("Score-CAM", "perturbation"),
    "ablation_cam": Method("Ablation-CAM", "perturbation"),
    "finer_cam": Method("Finer-CAM", "activation", "cam", linear_head=True, finer=True),
    "finer_grad_cam": Method("Finer-CAM (Grad-CAM)", "gradient", "grad_cam", finer=True),
    "refined_cam": Method("CAM + PAMR", "refined", linear_head=True),
    "refined_grad_cam": Method("Grad-CAM + PAMR", "refined"),
    "guided_grad_cam": Method("Guided Grad-CAM", "guided", relu_only=True),
    "counterfactual": Method("Counterfactual", "gradient", against=True),
    "random": Method("Random", "baselines", per_class=False),
    "centre": Method("Centre", "baselines", per_class=False),
    "edges": Method("Edges", "baselines", per_class=False),
}


def _no_method_twice(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names a method twice")
    return names


class CamSettings(Settings):
    """Which maps are made, and of which layer's activations (`layers.at`)."""

    cam_layer: str | None
    cam_methods: Annotated[
        list[Annotated[str, one_of(METHODS)]], Field(min_length=1), AfterValidator(_no_method_twice)
    ]


def check(names: Iterable[str], classifier: "Classifier") -> None:
    """Raise `InputError`, with the reason and what would fit, if a method does not fit the
    classifier's network. Fast: looks at modules, at most runs the network on empty tensors."""
    for name in names:
        if name not in METHODS:
            raise InputError(f"cam_methods: {name} {unknown(name, METHODS)}")
        method = METHODS[name]
        if method.linear_head and classifier.linear is None:
            fitting = [other for other in METHODS if not METHODS[other].linear_head]
            raise InputError(
                f"cam_methods: {name} needs nothing but average pooling and one linear layer after "
                f"the activations, which {classifier.backbone} with head: {classifier.head_kind} "
                f"does not have there; set head to gap and cam_layer to null, or use "
                f"{', '.join(fitting)}"
            )
        if method.relu_only:
            from pokecam.cam.relus import unguided  # torch: reading the table goes without

            if reasons := unguided(classifier):
                raise InputError(
                    f"cam_methods: {name} is defined for networks whose activation functions are "
                    f"all ReLU or ReLU6; {classifier.backbone} has {', '.join(reasons)}. Use "
                    f"another method, or a backbone such as resnet18, vgg16 or mobilenet_v2"
                )
