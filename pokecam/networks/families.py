"""The table of backbones: every image classifier of torchvision, by family.

Nothing is imported that needs PyTorch, whose import takes seconds: names and facts of networks are
checked before anything runs. `backbones` builds the networks.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """Networks of torchvision that are split in the same way.

    Attributes:
        names: the builders, by torchvision's names.
        split: how the network is split, an entry of `backbones.SPLITS`.
        last: torchvision's name of the last layer, which has one output for each class.
        options: arguments of the builders, beside the number of classes.
        pooled_body: an entry of `backbones.POOLED_BODIES`: network → body for the `gap` head, where
            it is not the body that `split` returns.
        auxiliary: the auxiliary classifiers, by the first part of the names of their tensors.
            Weight files hold them; fine-tuning does not use them.
        one_size: the network takes only images of the side that its weights were trained on.
        tokens: the features are tokens (N, T, K), the class token first.
        one_layer: only the output of the last layer of the body can be laid out as a grid
            (N, K, h, w).
        computes_when_built: the builders compute with the values of tensors, so they do not run on
            the "meta" device.
        linear_head: the native head is average pooling over A and one linear layer.
    """

    names: tuple[str, ...]
    split: str
    last: str
    options: dict[str, Any] = field(default_factory=dict)
    pooled_body: str | None = None
    auxiliary: tuple[str, ...] = ()
    one_size: bool = False
    tokens: bool = False
    one_layer: bool = False
    computes_when_built: bool = False
    linear_head: bool = True


FAMILIES = (
    Family(
        ("mobilenet_v3_small", "mobilenet_v3_large"),
        "features",
        last="classifier.3",
        linear_head=False,
    ),
    Family(("mobilenet_v2",), "features", last="classifier.1"),
    Family(
        (
            *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
            *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
            *("wide_resnet50_2", "wide_resnet101_2"),
        ),
        "resnet",
        last="fc",
    ),
    Family(
        tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
        "vgg",
        last="classifier.6",
        linear_head=False,
    ),
    Family(("alexnet",), "vgg", last="classifier.6", linear_head=False),
    Family(
        ("squeezenet1_0", "squeezenet1_1"), "squeezenet", last="classifier.1", linear_head=False
    ),
    Family(
        ("densenet121", "densenet161", "densenet169", "densenet201"), "densenet", last="classifier"
    ),
    Family(
        ("googlenet",),
        "inception",
        last="fc",
        # The official weights were trained on images in [-1, 1]. The network converts its input.
        options={"transform_input": True, "aux_logits": False, "init_weights": False},
        auxiliary=("aux1", "aux2"),
    ),
    Family(
        ("inception_v3",),
        "inception",
        last="fc",
        options={"transform_input": True, "aux_logits": False, "init_weights": False},
        auxiliary=("AuxLogits",),
    ),
    Family(
        tuple(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
        "shufflenet",
        last="fc",
    ),
    Family(
        tuple(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")),
        "mnasnet",
        last="classifier.1",
    ),
    Family(
        (
            *(f"efficientnet_b{size}" for size in range(8)),
            *(f"efficientnet_v2_{size}" for size in "sml"),
        ),
        "features",
        last="classifier.1",
    ),
    Family(
        (
            *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf")),
            *("regnet_y_32gf", "regnet_y_128gf"),
            *(f"regnet_x_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf")),
            "regnet_x_32gf",
        ),
        "regnet",
        last="fc",
        computes_when_built=True,
    ),
    Family(
        tuple(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
        "convnext",
        last="classifier.2",
        linear_head=False,
    ),
    Family(("maxvit_t",), "maxvit", last="classifier.5", one_size=True, linear_head=False),
    Family(
        tuple(f"swin_{version}{size}" for version in ("", "v2_") for size in "tsb"),
        "swin",
        last="head",
        one_layer=True,
    ),
    Family(
        ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"),
        "vit",
        last="heads.head",
        pooled_body="vit",
        one_size=True,
        tokens=True,
        one_layer=True,
        linear_head=False,
    ),
)

BACKBONES = {name: family for family in FAMILIES for name in family.names}
