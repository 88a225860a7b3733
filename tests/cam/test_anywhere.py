"""Maps of networks that are not the pipeline's: held to gradients through the whole network, and
to what the table of backbones gives for torchvision's."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from pokecam.cam.anywhere import cut, heatmaps
from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.common.errors import InputError
from pokecam.networks.backbones import BACKBONES
from pokecam.networks.classifier import Classifier

CLASSES = 4


class Own(nn.Module):
    """A network as people write them: functions between the layers, shortcuts, a size taken from
    what comes in."""

    def __init__(self, *, from_input: bool = False, linear: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.block = nn.ModuleDict({"a": nn.Conv2d(8, 8, 3, 1, 1), "b": nn.Conv2d(8, 8, 1)})
        self.last = nn.Sequential(nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU(inplace=True))
        self.act = nn.ReLU(inplace=True)
        self.hidden = nn.Linear(6, 5)
        self.out = nn.Linear(6 if linear else 5, CLASSES)
        self.from_input = from_input
        self.linear = linear

    def forward(self, x):
        n = len(x)
        x = self.act(self.stem(x))
        x = x + self.block["b"](F.relu(self.block["a"](x)))
        x = self.last(x)
        x = x.mean((2, 3)) if self.linear else F.adaptive_max_pool2d(x, 1)
        x = x.reshape(n if self.from_input else -1, 6)
        return self.out(x if self.linear else torch.tanh(self.hidden(x)))


@pytest.fixture
def x():
    return torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(1))


def own(**options):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Own(**options).eval()


def with_gradients(network, layer, x):
    """A and the gradient (N, C, K, h, w) of every logit, by a graph of the whole network."""
    kept = {}

    def keep(_module, _inputs, output):
        kept["A"] = output.detach().requires_grad_()
        return kept["A"].clone()

    hook = network.get_submodule(layer).register_forward_hook(keep)
    logits = network(x)
    hook.remove()
    rows = []
    for c in range(logits.shape[1]):
        (g,) = torch.autograd.grad(logits[:, c].sum(), kept["A"], retain_graph=True)
        rows.append(g)
    return kept["A"].detach(), torch.stack(rows, dim=1)


@pytest.mark.parametrize("layer", ["last", "last.0"])  # the second is overwritten by the next
@pytest.mark.parametrize("options", [{}, {"from_input": True}, {"linear": True}], ids=str)
def test_maps_of_ones_own_network_are_those_of_the_whole_graph(options, layer, x):
    network = own(**options)
    A, g = with_gradients(network, layer, x)
    expected = {
        "grad_cam": (g.mean((3, 4), keepdim=True) * A[:, None]).sum(2),
        "hires_cam": (g * A[:, None]).sum(2),
        "layer_cam": (g.relu() * A[:, None]).sum(2),
    }
    seen = cut(network, x, layer)
    captured = capture(seen, x)
    torch.testing.assert_close(captured.logits, network(x))
    torch.testing.assert_close(captured.logits_of(x * 0.5), network(x * 0.5))
    for method, raw in expected.items():
        torch.testing.assert_close(compute_maps(captured, method), raw)
        shown = heatmaps(seen, x, method)
        assert shown.shape == (3, CLASSES, 40, 56)
        np.testing.assert_array_equal(
            shown, display(compute_maps(captured, method).numpy(), (40, 56))
        )


def test_every_method_goes_with_every_network_or_says_why(x):
    for network in (own(), own(linear=True)):
        seen = cut(network, x, "last")
        for method, about in METHODS.items():
            if about.linear_head or method == "guided_grad_cam":
                continue
            assert np.isfinite(heatmaps(seen, x, method)).all()
    linear = cut(own(linear=True), x, "last")
    assert heatmaps(linear, x, "finer_cam", alike=[[0, 1]]).max() == 1
    with pytest.raises(InputError, match="cam needs nothing but average pooling and one linear"):
        heatmaps(cut(own(), x, "last"), x, "cam")
    with pytest.raises(InputError, match="Own has tanh"):
        heatmaps(cut(own(), x, "last"), x, "guided_grad_cam")
    assert heatmaps(linear, x, "guided_grad_cam").shape == (3, CLASSES, 40, 56)
    torch.testing.assert_close(linear(x), linear.body.network(x))  # and no tensor was left empty


def test_cam_is_found_where_pooling_and_one_layer_follow(x):
    """Before the ReLU, which is not linear, it is not; nor where all logits are alike."""
    network = own(linear=True)
    captured = capture(cut(network, x, "last"), x)
    raw = compute_maps(captured, "cam")
    torch.testing.assert_close(raw.mean((2, 3)) + network.out.bias, network(x))
    assert cut(network, x, "last.0").linear is None
    nn.init.zeros_(network.out.weight)
    assert cut(network, x, "last").linear is None


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("resnet18", "layer3"),
        ("vgg11", "features.19"),
        ("squeezenet1_1", "features"),
        ("mobilenet_v3_small", None),
        ("shufflenet_v2_x0_5", "conv5"),
        ("vit_b_32", "encoder.layers.encoder_layer_10"),
        ("swin_t", "permute"),
    ],
)
def test_torchvisions_networks_come_apart_as_the_table_says(name, layer, x):
    """The table knows where they end; a layer found by hooks gives the same maps. Those of
    transformers are too, once their grid is told or made of tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"image_size": 64} if name.startswith("vit") else {}
        network = getattr(torchvision.models, name)(num_classes=CLASSES, **options).eval()
        if name.startswith("vit"):
            nn.init.normal_(network.heads.head.weight)  # torchvision's are 0
    x = F.interpolate(x, (64, 64)) - 0.5
    seen = cut(network, x, layer)
    body, head = BACKBONES[name].split(network)
    about = {"backbone": name, "head_kind": "native", "classes": "abcd", "image_size": 64}
    table = Classifier(body, head, **about)
    if layer == "layer3":
        from pokecam.networks.layers import at

        table = at(table, layer)
    for method in ("grad_cam", "layer_cam", "eigen_cam"):
        mine, theirs = (compute_maps(capture(one, x), method) for one in (seen, table))
        scale = float(theirs.abs().max())
        assert scale > 0
        assert float((mine - theirs).abs().max()) < 1e-4 * scale
    assert (seen.linear is None) == (table.linear is None)


def test_channels_last_are_laid_out_as_told(x):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.swin_t(num_classes=CLASSES).eval()
    x = F.interpolate(x, (64, 64))
    told = cut(network, x, "norm", grid=lambda A: A.movedim(-1, -3))
    found = cut(network, x, "permute")
    assert told.linear is not None
    for method in ("cam", "layer_cam"):
        mine, theirs = (compute_maps(capture(one, x), method) for one in (told, found))
        torch.testing.assert_close(mine, theirs)


def test_the_network_is_left_as_it_was(x):
    network = own().train()
    network.stem.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    with torch.inference_mode():
        inside = heatmaps(cut(network, x, "last"), x)
    seen = cut(network, x, "last")
    np.testing.assert_array_equal(heatmaps(seen, x), inside)
    assert network.training
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [parameter.requires_grad for parameter in network.stem.parameters()] == [False, False]
    for name, tensor in network.state_dict().items():
        assert tensor.equal(before[name])


def test_one_image_is_enough_and_gives_its_own_map(x):
    seen = cut(own(), x[1:2], "last", classes=["p", "q", "r", "s"])
    np.testing.assert_allclose(heatmaps(seen, x[:1])[0], heatmaps(seen, x)[0], atol=1e-5)
    assert seen.classes == ("p", "q", "r", "s")
    assert seen.cam_layer == "last"


class Dictionary(Own):
    def forward(self, x):
        return {"logits": super().forward(x)}


@pytest.mark.parametrize(
    ("network", "layer", "message"),
    [
        (own(), "lats", "no layer lats that runs. Did you mean last?"),
        (own(), "block", "no layer block that runs"),
        (own(), "block.b", "what follows block.b reads more than what it gives"),
        (own(), "out", r"out gives \(1, 4\), neither a map \(N, K, h, w\) nor tokens"),
        (Dictionary(), None, r"network: gives a dict, not logits \(N, C\); wrap it"),
        (nn.Sequential(nn.Conv2d(3, 4, (40, 56)), nn.Flatten()), None, "does not end in a map"),
        (torchvision.models.resnet18(), "layer4.1.relu", "layer4.1.relu runs 2 times an image"),
    ],
)
def test_what_cannot_be_cut_is_told_in_one_line(network, layer, message, x):
    with pytest.raises(InputError, match=message):
        cut(network, x, layer)


def test_a_vision_transformer_needs_the_layer_named(x):
    network = torchvision.models.vit_b_32(image_size=64, num_classes=CLASSES)
    with pytest.raises(InputError, match="of a vision transformer the last block but one"):
        cut(network, F.interpolate(x, (64, 64)))
