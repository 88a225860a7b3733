"""Networks of timm and of transformers, with random weights: maps at the default layer against a
hook on the whole network. Neither library is a dependency: the tests run where it is installed::

    pip install timm transformers
"""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from pokecam.cam.anywhere import cut
from pokecam.cam.capture import capture
from pokecam.cam.maps import compute_maps
from pokecam.common.errors import InputError
from tests.support.small_networks import whole_graph_maps


class Expected(NamedTuple):
    """The default layer, the sides of its activations, how many tokens precede the patches (None
    where it gives a map), and whether channels come last."""

    layer: str
    side: int
    extra: int | None = None
    channels_last: bool = False


TIMM = {
    "swin_tiny_patch4_window7_224": Expected("norm", 7, channels_last=True),
    "swinv2_cr_tiny_224": Expected("stages", 7),
    "nest_tiny": Expected("norm", 14, channels_last=True),
    "mambaout_femto": Expected("stages", 7, channels_last=True),
    "sequencer2d_s": Expected("norm", 16, channels_last=True),
    "vit_tiny_patch16_224": Expected("blocks.10", 14, extra=1),
    "deit_tiny_distilled_patch16_224": Expected("blocks.10", 14, extra=2),
    "vit_small_patch14_reg4_dinov2": Expected("blocks.10", 37, extra=5),
    "mixer_s32_224": Expected("norm", 7, extra=0),
    "twins_pcpvt_small": Expected("norm", 7, extra=0),
    "cait_xxs24_224": Expected("blocks.23", 14, extra=0),
    "levit_128s": Expected("stages", 4, extra=0),
    "focalnet_tiny_srf": Expected("norm", 7),
    "davit_tiny": Expected("norm_pre", 7),
    "pvt_v2_b0": Expected("stages", 7),
    "coatnet_nano_rw_224": Expected("norm", 7),
    "ghostnet_100": Expected("blocks", 7),
}


def fill_zeros(network: nn.Module) -> None:
    """Give last layers that begin with zeros random weights."""
    for parameter in network.parameters():
        if parameter.ndim > 1 and float(parameter.detach().abs().max()) == 0:
            nn.init.normal_(parameter, std=0.05)


def check(network: nn.Module, side_px: int, expected: Expected) -> None:
    # Double precision: in untrained networks the class token hardly depends on the patches, so
    # maps are differences of nearly equal numbers.
    network.double().eval()
    fill_zeros(network)
    x = torch.rand(2, 3, side_px, side_px, generator=torch.Generator().manual_seed(0)).double()
    classifier = cut(network, x)
    assert classifier.cam_layer == expected.layer

    def grid(A: Tensor) -> Tensor:
        if expected.extra is None:
            return A.movedim(-1, 1) if expected.channels_last else A
        return A[:, expected.extra :].movedim(-1, 1).unflatten(-1, (expected.side, expected.side))

    maps = whole_graph_maps(Logits(network), f"network.{expected.layer}", x, grid)
    captured = capture(classifier, x)
    for method, raw in maps.items():
        assert raw.shape[-2:] == (expected.side, expected.side)
        actual = compute_maps(captured, method)
        assert float((actual - raw).abs().max()) <= 1e-3 * float(raw.abs().max())


class Logits(nn.Module):
    """Networks of transformers return an object around the logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        output = self.network(x)
        return getattr(output, "logits", output)


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm(name):
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False, num_classes=4)
        check(network, network.default_cfg["input_size"][-1], TIMM[name])


def test_tokens_of_hiera_in_the_order_of_its_windows_are_refused():
    timm = pytest.importorskip("timm")
    network = timm.create_model("hiera_tiny_224", pretrained=False, num_classes=4).eval()
    fill_zeros(network)
    x = torch.rand(1, 3, 224, 224)
    assert cut(network, x, "blocks.11").cam_layer == "blocks.11"
    for layer in ("blocks.2", "blocks.9"):
        with pytest.raises(InputError, match=f"{layer} gives .* nor the tokens of its patches"):
            cut(network, x, layer)


TRANSFORMERS = {
    "ViT": ({}, 224, Expected("vit.layers.2", 14, extra=1)),
    "DeiT": ({}, 224, Expected("deit.layers.2", 14, extra=2)),
    "Beit": ({}, 224, Expected("beit.layernorm", 14, extra=1)),
    "Dinov2WithRegisters": (
        {"image_size": 224, "patch_size": 14},
        224,
        Expected("dinov2_with_registers.layernorm", 16, extra=5),
    ),
    "Swin": (
        {"embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 3, 4]},
        224,
        Expected("swin.layernorm", 7, extra=0),
    ),
    "Segformer": ({"depths": [1, 1, 1, 1]}, 224, Expected("segformer.stages.3", 7)),
    "MobileViT": ({}, 256, Expected("mobilevit.conv_1x1_exp", 8)),
    "ConvNext": ({"depths": [1, 1, 1, 1]}, 224, Expected("convnext.encoder.stages.3", 7)),
}
SMALL = {
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_networks_of_transformers(name):
    transformers = pytest.importorskip("transformers")
    options, side_px, expected = TRANSFORMERS[name]
    if expected.extra is not None and name != "Swin":
        options = SMALL | options
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(num_labels=4, **options)
        network = getattr(transformers, f"{name}ForImageClassification")(config)
        check(network, side_px, expected)
