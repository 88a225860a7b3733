"""The table of CAM methods: the names that `cam_methods` takes, and what each method needs.

Nothing is imported that needs PyTorch, whose import takes seconds: parameters are checked before
anything runs. An entry says where its function is, which is imported when it is first used.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from pokecam.common.errors import InputError
from pokecam.common.params import Settings, no_duplicates, one_of

if TYPE_CHECKING:
    from torch import Tensor

    from pokecam.cam.capture import Capture


@dataclass(frozen=True)
class Method:
    """One way to compute a map.

    Attributes:
        title: the name in the papers.
        path: where its function is: a module of `pokecam.cam`, and the name in it.
        linear_head: it needs a head of average pooling and one linear layer.
        relu_only: it needs a network whose activation functions are all ReLU or ReLU6.
        per_class: every class has a map of its own; otherwise one map is for all classes.
        finer: it explains what tells a class from those that look like it
            (`maps.finer_targets`), not the logit of the class alone.
        against: it shows the evidence against the class.
        slow: it runs the network many times for an image: once for each channel, or each region.
        side_by_side: its memory grows with the number of targets that it is given at once.
    """

    title: str
    path: str
    linear_head: bool = False
    relu_only: bool = False
    per_class: bool = True
    finer: bool = False
    against: bool = False
    slow: bool = False
    side_by_side: bool = False

    @property
    def function(self) -> "Callable[[Capture, Tensor], Tensor]":
        """(Capture of N images, targets (M, N, C)) → raw maps (N, M, h, w), or (N, 1, h, w) where
        `per_class` is false."""
        return resolve_name(f"pokecam.cam.{self.path}")

    @property
    def has_difference(self) -> bool:
        """Whether the difference of the maps of two classes is the evidence for one against the
        other: not where the method compares classes anyway, has one map for all of them, or shows
        the evidence against a class."""
        return self.per_class and not self.finer and not self.against


METHODS = {
    "cam": Method("CAM", "activation.cam", linear_head=True),
    "grad_cam": Method("Grad-CAM", "gradient.grad_cam", side_by_side=True),
    "grad_cam_plus_plus": Method("Grad-CAM++", "gradient.grad_cam_plus_plus", side_by_side=True),
    "hires_cam": Method("HiResCAM", "gradient.hires_cam", side_by_side=True),
    "layer_cam": Method("LayerCAM", "gradient.layer_cam", side_by_side=True),
    "xgrad_cam": Method("XGrad-CAM", "gradient.xgrad_cam", side_by_side=True),
    "eigen_cam": Method("Eigen-CAM", "activation.eigen_cam", per_class=False),
    "score_cam": Method("Score-CAM", "perturbation.score_cam", slow=True),
    "ablation_cam": Method("Ablation-CAM", "perturbation.ablation_cam", slow=True),
    "occlusion": Method("Occlusion", "occlusion.occlusion", slow=True),
    "fine_occlusion": Method("Fine occlusion", "occlusion.fine_occlusion", slow=True),
    "finer_cam": Method("Finer-CAM", "activation.cam", linear_head=True, finer=True),
    "finer_grad_cam": Method(
        "Finer-CAM (Grad-CAM)", "gradient.grad_cam", finer=True, side_by_side=True
    ),
    "pamr_cam": Method("CAM + PAMR", "pamr.pamr_cam", linear_head=True, side_by_side=True),
    "pamr_grad_cam": Method("Grad-CAM + PAMR", "pamr.pamr_grad_cam", side_by_side=True),
    "guided_grad_cam": Method("Guided Grad-CAM", "guided.guided_grad_cam", relu_only=True),
    "counterfactual": Method(
        "Counterfactual", "gradient.counterfactual", against=True, side_by_side=True
    ),
    "random": Method("Random", "baselines.random", per_class=False),
    "centre": Method("Centre", "baselines.centre", per_class=False),
    "edges": Method("Edges", "baselines.edges", per_class=False),
}


class CamSettings(Settings):
    """The methods, and the layer whose activations maps are made of (`layers.cut_at`)."""

    cam_layer: str | None
    cam_methods: Annotated[
        list[Annotated[str, one_of(METHODS)]],
        Field(min_length=1),
        AfterValidator(no_duplicates),
    ]


# What the name of a method comes from → what would make it fit.
_REMEDIES = {"cam_methods": "set head to gap and cam_layer to null"}


def check_head(name: str, *, parameter: str, network: str, has_linear_head: bool) -> None:
    """Check that a method fits the head of a network.

    Args:
        name: of a method in `METHODS`.
        parameter: what the name comes from, for the error.
        network: the network, for the error.
        has_linear_head: whether nothing but average pooling and one linear layer follows the
            activations.

    Raises:
        InputError: it does not fit, with the reason and what would fit.
    """
    if METHODS[name].linear_head and not has_linear_head:
        remedy = _REMEDIES.get(parameter, "take another layer")
        fitting = [other for other in METHODS if not METHODS[other].linear_head]
        raise InputError(
            f"{parameter}: {name} needs nothing but average pooling and one linear layer after "
            f"the activations, which {network} does not have there; {remedy}, or use "
            f"{', '.join(fitting)}"
        )


def not_only_relu(name: str, parameter: str, network: str, functions: Iterable[str]) -> str:
    """Return the error that a method does not fit the functions of a network.

    Args:
        name: of the method.
        parameter: what the name comes from.
        network: the network.
        functions: the names of its functions, of `affine.functions_other_than_relu`.
    """
    return (
        f"{parameter}: {name} is defined for networks whose activation functions are all ReLU or "
        f"ReLU6; {network} has {', '.join(functions)}. Use another method, or a backbone such as "
        "resnet18, vgg16 or mobilenet_v2"
    )
