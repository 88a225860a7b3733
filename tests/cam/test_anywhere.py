"""Maps of networks that are not the pipeline's, against gradients through the whole network, and
against the table of backbones for torchvision's networks."""

import copy
import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from pokecam.cam import anywhere
from pokecam.cam.anywhere import cut, heatmaps
from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.common.errors import InputError
from pokecam.networks.backbones import SPLITS
from pokecam.networks.classifier import Classifier, build_classifier
from pokecam.networks.families import BACKBONES
from pokecam.networks.layers import cut_at

CLASSES = 4


class UserNetwork(nn.Module):
    """A network as users write them: functions between the layers, shortcuts, a size that is taken
    from the input."""

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


def user_network(**options):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return UserNetwork(**options).eval()


def with_gradients(network, layer, x):
    """A and the gradient (N, C, K, h, w) of every logit, by a graph of the whole network."""
    leaves = []

    def replace(_module, _inputs, output):
        leaves.append(output.detach().requires_grad_())
        return leaves[0].clone()

    hook = network.get_submodule(layer).register_forward_hook(replace)
    logits = network(x)
    hook.remove()
    (A,) = leaves
    gradients = []
    for c in range(logits.shape[1]):
        (g,) = torch.autograd.grad(logits[:, c].sum(), A, retain_graph=True)
        gradients.append(g)
    return A.detach(), torch.stack(gradients, dim=1)


@pytest.mark.parametrize("layer", ["last", "last.0"])  # the second is overwritten by the next
@pytest.mark.parametrize("options", [{}, {"from_input": True}, {"linear": True}], ids=str)
def test_maps_of_a_users_network_are_those_of_the_whole_graph(options, layer, x):
    network = user_network(**options)
    A, g = with_gradients(network, layer, x)
    expected = {
        "grad_cam": (g.mean((3, 4), keepdim=True) * A[:, None]).sum(2),
        "hires_cam": (g * A[:, None]).sum(2),
        "layer_cam": (g.relu() * A[:, None]).sum(2),
    }
    classifier = cut(network, x, layer)
    captured = capture(classifier, x)
    torch.testing.assert_close(captured.logits, network(x))
    torch.testing.assert_close(captured.logits_of(x * 0.5), network(x * 0.5))
    for method, raw in expected.items():
        torch.testing.assert_close(compute_maps(captured, method), raw)
        actual = heatmaps(classifier, x, method)
        assert actual.shape == (3, CLASSES, 40, 56)
        displayed = display(compute_maps(captured, method).numpy(), (40, 56))
        np.testing.assert_allclose(actual, displayed, atol=1e-6)


def test_heatmaps_are_float32_under_a_callers_autocast_and_in_parts(monkeypatch, x):
    network = cut(user_network(), x, "last")
    expected = heatmaps(network, x)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            actual = heatmaps(network, x)
            np.testing.assert_array_equal(heatmaps(user_network(), x, layer="last"), expected)
        assert actual.dtype == np.float32
        np.testing.assert_array_equal(actual, expected)
    monkeypatch.setattr(anywhere, "DISPLAY_BYTES", 1)
    np.testing.assert_allclose(heatmaps(network, x), expected, atol=1e-6)


def test_every_method_works_with_every_network_or_says_why_not(x):
    for network in (user_network(), user_network(linear=True)):
        classifier = cut(network, x, "last")
        for method, entry in METHODS.items():
            if entry.linear_head or method == "guided_grad_cam":
                continue
            assert np.isfinite(heatmaps(classifier, x, method)).all()
    linear = cut(user_network(linear=True), x, "last")
    assert heatmaps(linear, x, "finer_cam", lookalikes=[[0, 1]]).max() == 1
    with pytest.raises(InputError, match="cam needs nothing but average pooling and one linear"):
        heatmaps(cut(user_network(), x, "last"), x, "cam")
    with pytest.raises(InputError, match="UserNetwork has tanh"):
        heatmaps(cut(user_network(), x, "last"), x, "guided_grad_cam")
    assert heatmaps(linear, x, "guided_grad_cam").shape == (3, CLASSES, 40, 56)
    torch.testing.assert_close(linear(x), linear.body.network(x))  # and no tensor stayed empty


def test_cam_is_found_where_pooling_and_one_layer_follow(x):
    """Not before the ReLU, which is not linear, nor where all images have the same logits."""
    network = user_network(linear=True)
    captured = capture(cut(network, x, "last"), x)
    raw = compute_maps(captured, "cam")
    torch.testing.assert_close(raw.mean((2, 3)) + network.out.bias, network(x))
    assert cut(network, x, "last.0").linear is None


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
def test_torchvisions_networks_are_divided_as_the_table_says(name, layer, x):
    """Maps at a layer that hooks divide equal those at the end of the body in the table, for
    transformers too, whose grid is given or made of tokens."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"image_size": 64} if name.startswith("vit") else {}
        network = getattr(torchvision.models, name)(num_classes=CLASSES, **options).eval()
        if name.startswith("vit"):
            nn.init.normal_(network.heads.head.weight)  # torchvision's are 0
    x = F.interpolate(x, (64, 64)) - 0.5
    classifier = cut(network, x, layer)
    body, head = SPLITS[BACKBONES[name].split](network)
    expected = Classifier(
        body, head, backbone=name, head_kind="native", classes="abcd", image_size=64
    )
    if layer == "layer3":
        expected = cut_at(expected, layer)
    for method in ("grad_cam", "layer_cam", "eigen_cam"):
        actual_maps = compute_maps(capture(classifier, x), method)
        expected_maps = compute_maps(capture(expected, x), method)
        scale = float(expected_maps.abs().max())
        assert scale > 0
        assert float((actual_maps - expected_maps).abs().max()) < 1e-4 * scale
    assert (classifier.linear is None) == (expected.linear is None)


def test_channels_last_are_laid_out_by_the_grid(x):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.swin_t(num_classes=CLASSES).eval()
    x = F.interpolate(x, (64, 64))
    channels_last = cut(network, x, "norm", grid=lambda A: A.movedim(-1, -3))
    channels_first = cut(network, x, "permute")
    assert channels_last.linear is not None
    for method in ("cam", "layer_cam"):
        actual, expected = (
            compute_maps(capture(classifier, x), method)
            for classifier in (channels_last, channels_first)
        )
        torch.testing.assert_close(actual, expected)


def test_the_network_is_not_changed(x):
    network = user_network().train()
    network.stem.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    with torch.inference_mode():
        inside = heatmaps(cut(network, x, "last"), x)
    np.testing.assert_array_equal(heatmaps(cut(network, x, "last"), x), inside)
    assert network.training
    assert torch.is_grad_enabled()
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [parameter.requires_grad for parameter in network.stem.parameters()] == [False, False]
    for name, tensor in network.state_dict().items():
        assert tensor.equal(before[name])


def test_one_image_is_enough_and_gives_its_own_map(x):
    classifier = cut(user_network(), x[1:2], "last", classes=["p", "q", "r", "s"])
    alone, together = heatmaps(classifier, x[:1]), heatmaps(classifier, x)
    np.testing.assert_allclose(alone[0], together[0], atol=1e-5)
    assert classifier.classes == ("p", "q", "r", "s")
    assert classifier.cam_layer == "last"


class Wrapped(UserNetwork):
    """A user's network whose output is something around the logits."""

    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(super().forward(x))


def wrapped(wrap):
    network = Wrapped(wrap)
    network.load_state_dict(user_network().state_dict())
    return network.eval()


@dataclasses.dataclass
class ImageClassifierOutput:
    """As `transformers` returns it, among other things."""

    loss: torch.Tensor | None
    logits: torch.Tensor


class InceptionOutputs(NamedTuple):
    logits: torch.Tensor
    aux_logits: torch.Tensor


WRAPPINGS = {
    "dataclass": lambda logits: ImageClassifierOutput(None, logits),
    "named tuple": lambda logits: InceptionOutputs(logits, 2 - 3 * logits),
    "mapping": lambda logits: {"features": 2 - 3 * logits, "logits": logits},
    "tuple of one": lambda logits: (logits,),
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_logits_are_taken_out_of_what_a_network_returns(wrap, x):
    network = wrapped(wrap)
    classifier, plain = cut(network, x, "last"), cut(user_network(), x, "last")
    torch.testing.assert_close(classifier(x), user_network()(x))
    for method in ("grad_cam", "layer_cam", "score_cam", "ablation_cam"):
        actual, expected = (compute_maps(capture(c, x), method) for c in (classifier, plain))
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    ("network", "layer", "message"),
    [
        (user_network(), "lats", "lats is no layer of the network. Did you mean last?"),
        (user_network(), "block", "block does not run when the network runs"),
        (user_network(), "block.b", "what follows block.b reads more than its output"),
        (user_network(), "out", r"out gives \(1, 4\) for an image of 40 × 56 px, which is neither"),
        (
            wrapped(lambda logits: {"scores": logits}),
            None,
            r"network: gives a dict with the keys scores, not logits \(N, C\); wrap it",
        ),
        (  # which of the two are the logits?
            wrapped(lambda logits: (torch.zeros(len(logits), 9), logits)),
            None,
            r"network: gives a tuple of \(1, 9\), \(1, 4\), not logits \(N, C\); wrap it",
        ),
        (
            wrapped(lambda logits: ImageClassifierOutput(None, logits[0])),
            None,
            r"network: gives \(4,\), not logits \(N, C\); wrap it",
        ),
        (
            wrapped(lambda logits: ImageClassifierOutput(logits, None)),
            None,
            r"network: gives a ImageClassifierOutput, not logits \(N, C\); wrap it",
        ),
        (nn.Sequential(nn.Conv2d(3, 4, (40, 56)), nn.Flatten()), None, "does not end in a map"),
        (torchvision.models.resnet18(), "layer4.1.relu", "layer4.1.relu runs 2 times for an image"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_line(network, layer, message, x):
    with pytest.raises(InputError, match=message):
        cut(network, x, layer)


def test_the_default_layer_of_a_transformer_is_the_last_whose_patches_are_read(x):
    network = torchvision.models.vit_b_32(image_size=64, num_classes=CLASSES)
    x = F.interpolate(x, (64, 64))
    with pytest.raises(InputError, match="network if its last layer is still 0"):
        cut(network, x, "encoder.layers.encoder_layer_10")
    nn.init.normal_(network.heads.head.weight)
    assert cut(network, x).cam_layer == "encoder.layers.encoder_layer_10"
    for layer in ("encoder.layers.encoder_layer_11", "encoder.ln"):
        with pytest.raises(
            InputError, match=f"not depend on the patches of {layer}, but on its cl"
        ):
            cut(network, x, layer)


@pytest.mark.parametrize("layer", [None, "last", "last.0"])
def test_a_network_that_is_not_divided_is_divided_here(layer, x):
    network = user_network()
    np.testing.assert_array_equal(
        heatmaps(network, x, "layer_cam", layer=layer),
        heatmaps(cut(network, x, layer), x, "layer_cam"),
    )


def test_new_weights_and_new_layers_of_a_network_count(x):
    """Nothing of an earlier call is reused, which could be wrong by now."""
    network = user_network(linear=True)
    before = heatmaps(network, x)
    network.out = nn.Linear(6, CLASSES)
    np.testing.assert_array_equal(heatmaps(network, x), heatmaps(cut(network, x), x))
    assert not np.array_equal(heatmaps(network, x), before)


def test_heatmaps_of_chosen_classes(x):
    classifier = cut(user_network(), x, "last", classes=["p", "q", "r", "s"])
    maps = heatmaps(classifier, x, "layer_cam")
    for classes in (["r", "p"], [2, 0]):
        chosen = heatmaps(classifier, x, "layer_cam", classes=classes)
        np.testing.assert_allclose(chosen, maps[:, [2, 0]], atol=1e-6)
    np.testing.assert_allclose(
        heatmaps(user_network(), x, classes=3)[:, 0], heatmaps(classifier, x)[:, 3], atol=1e-6
    )


def test_the_layer_of_a_divided_network_is_not_changed_in_silence(x):
    classifier = cut(user_network(), x, "last")
    np.testing.assert_array_equal(heatmaps(classifier, x, layer="last"), heatmaps(classifier, x))
    with pytest.raises(InputError, match=r"last.0 given for a network that is divided at last;"):
        heatmaps(classifier, x, layer="last.0")


def test_a_classifier_of_the_pipeline_takes_a_layer_too(x):
    classifier = build_classifier("squeezenet1_1", "gap", ["Ant", "Bee"], 64).eval()
    x = F.interpolate(x, (64, 64))
    expected = heatmaps(cut_at(classifier, "features.9"), x, "eigen_cam")
    np.testing.assert_array_equal(
        heatmaps(classifier, x, "eigen_cam", layer="features.9"), expected
    )
    assert not np.array_equal(heatmaps(classifier, x, "eigen_cam"), expected)


def test_names_that_are_not_one_for_each_logit_are_refused(x):
    with pytest.raises(InputError, match="classes: 3 names given for 4 logits; give one name"):
        cut(user_network(), x, "last", classes=["p", "q", "r"])
