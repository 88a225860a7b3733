"""What people give to the Python API, against the same function written plainly in float64."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from pokecam.cam.anywhere import cut, heatmaps
from pokecam.cam.capture import capture
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.common.errors import InputError
from tests.conftest import PROJECT
from tests.support.api_cases import REFUSED, WORKS, Part, Plain, Works, plain, x
from tests.support.small_networks import whole_graph_maps

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about what is deprecated


@pytest.mark.parametrize("case", WORKS.values(), ids=list(WORKS))
def test_maps_are_those_of_the_plain_network(case):
    works: Works = case()
    name = works.layer if isinstance(works.layer, str) else "last"
    expected = whole_graph_maps(
        works.plain, name.replace("_orig_mod.", ""), works.x.double(), lambda A: A
    )
    classifier = cut(works.network, works.x, works.layer)
    captured = capture(classifier, works.x)
    for method, raw in expected.items():
        maps = compute_maps(captured, method).double()
        assert float((maps - raw).abs().max()) <= works.tolerance * float(raw.abs().max())
    for method, entry in METHODS.items():
        if entry.finer and len(classifier.classes) == 1:
            continue
        if entry.linear_head and classifier.linear is None:
            continue
        if method == "guided_grad_cam" and not isinstance(classifier.linear, nn.Linear):
            continue  # the MLP has tanh
        if method == "guided_grad_cam" and getattr(works.network, "wrap", None):
            continue  # no gradient reaches the image
        assert np.isfinite(heatmaps(classifier, works.x, method)).all()


@pytest.mark.parametrize(("case", "line"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_divided_is_refused_in_one_line(case, line):
    network, images, layer = case()
    with pytest.raises(InputError) as refusal:
        cut(network, images, layer)
    assert str(refusal.value).startswith(line)
    assert "\n" not in str(refusal.value)
    assert "cam_methods" not in str(refusal.value)


def test_the_guide_has_a_row_for_each_case():
    text = (PROJECT / "docs/api.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", text, flags=re.MULTILINE)
    lines = dict(rows)
    for what, (_, line) in REFUSED.items():
        assert lines.get(what) == f"`{line.replace('`', chr(39)).strip()}`", what
    works = " ".join(text.split("Maps are right with: ")[1].split("\n\n")[0].split())
    for what in WORKS:
        assert what in works, what


def test_a_changed_weight_of_a_parametrised_layer_counts():
    """Its weight is computed anew, not read from an earlier run."""
    for change in (torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm):
        network = plain(lambda n, change=change: change(n.fc))
        classifier = cut(network, x(), "last")
        with torch.no_grad():
            for parameter in network.fc.parameters():
                parameter.mul_(-2)
        captured = capture(classifier, x())
        torch.testing.assert_close(captured.logits, network(x()))
        raw = compute_maps(captured, "cam").mean((2, 3)) + network.fc.bias
        torch.testing.assert_close(raw, network(x()))


def test_a_hook_that_changes_what_the_last_layer_returns_is_no_linear_head():
    network = plain()
    network.fc.register_forward_hook(lambda _module, _inputs, output: 3 * output)
    classifier = cut(network, x(), "last")
    assert classifier.linear is None
    torch.testing.assert_close(
        compute_maps(capture(classifier, x()), "grad_cam"),
        whole_graph_maps(network, "last", x(), lambda A: A)["grad_cam"],
    )


def test_a_single_logit_has_two_sides():
    network = plain(classes=1)
    classifier = cut(network, x(), "last")
    assert classifier.classes == ("positive",)
    captured = capture(classifier, x())
    for method in ("cam", "grad_cam", "hires_cam"):
        alone = compute_maps(captured, method)
        both = compute_maps(captured, method, classes=["positive", "negative", "positive"])
        torch.testing.assert_close(both, torch.cat([alone, -alone, alone], dim=1))
    for method in METHODS:
        if METHODS[method].finer:
            with pytest.raises(InputError, match="the network has a single logit; use cam or gr"):
                heatmaps(classifier, x(), method)
        else:
            assert np.isfinite(heatmaps(classifier, x(), method, classes="negative")).all()
    named = cut(network, x(), "last", classes=["tumour"])
    np.testing.assert_array_equal(
        heatmaps(named, x(), classes=["tumour", "negative"]),
        heatmaps(classifier, x(), classes=["positive", "negative"]),
    )
    with pytest.raises(InputError, match="'healthy' is no class of the network"):
        heatmaps(named, x(), classes=["healthy"])


def test_the_negative_side_is_the_evidence_of_the_opposite_network():
    """The network −z, by negated weights, in every method but those that ignore the class."""
    network, opposite = plain(classes=1), plain(classes=1)
    with torch.no_grad():
        for parameter in opposite.fc.parameters():
            parameter.neg_()
    for method, entry in METHODS.items():
        if entry.finer:
            continue
        np.testing.assert_allclose(
            heatmaps(network, x(), method, classes="negative"),
            heatmaps(opposite, x(), method),
            atol=1e-5,
        )


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[0, 9]], "lookalikes: 9 is no class of the network. Give names, or indices from 0 to 3"),
        ([["1", "tow"]], "lookalikes: 'tow' is no class of the network"),
        ([[2]], r"lookalikes: the group \[2\] has one class; give groups of two or more"),
        ([[]], "lookalikes: none given"),
    ],
)
def test_lookalikes_that_do_not_exist_are_refused(groups, message):
    with pytest.raises(InputError, match=message):
        heatmaps(plain(), x(), "finer_cam", lookalikes=groups)


def test_lookalikes_have_names_or_indices():
    classifier = cut(plain(), x(), "last", classes=["p", "q", "r", "s"])
    np.testing.assert_array_equal(
        heatmaps(classifier, x(), "finer_cam", [["p", "r"]]),
        heatmaps(classifier, x(), "finer_cam", [[0, 2]]),
    )


def test_messages_of_the_python_api_do_not_speak_of_parameters():
    network = plain(mlp=True)
    with pytest.raises(
        InputError, match=r"^method: cam needs nothing .* Plain does not have there"
    ):
        heatmaps(network, x(), "cam")
    with pytest.raises(InputError, match=r"^method: guided_grad_cam is defined .* Plain has tanh"):
        heatmaps(network, x(), "guided_grad_cam")
    with pytest.raises(InputError, match=r"^method: grad_kam is not known"):
        heatmaps(network, x(), "grad_kam")


def test_a_network_that_catches_exceptions_is_stopped_at_the_layer():
    class Catching(Plain):
        def forward(self, x):
            try:
                return super().forward(x)
            except Exception:
                return torch.zeros(len(x), 4)

    network = Catching().eval()
    torch.testing.assert_close(
        compute_maps(capture(cut(network, x(), "last"), x()), "grad_cam"),
        whole_graph_maps(network, "last", x(), lambda A: A)["grad_cam"],
    )


def test_a_shortcut_around_the_layer_is_not_hidden_by_a_black_image_or_a_large_bias():
    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
            self.fc = nn.Linear(8, 4)

        def forward(self, x):
            x = self.a(x).relu()
            return self.fc((x + self.b(x).relu()).mean((2, 3)))

    network = Shortcut().eval()
    for images in (x(), torch.zeros_like(x())):
        with pytest.raises(InputError, match="what follows b reads more than its output"):
            cut(network, images, "b")
    network.fc.bias.data += 1000
    with pytest.raises(InputError, match="what follows b reads more than its output"):
        cut(network, x(), "b")


def test_a_head_that_reads_the_size_of_the_image_gets_that_of_each_batch():
    class Sized(Plain):
        def forward(self, x):
            A = F.interpolate(self.last(self.stem(x)), x.shape[-2:])
            return self.fc(A.sum((2, 3)) / 1000)

    network = Sized().eval()
    classifier = cut(network, x(), "last")
    for images in (x(), F.interpolate(x(), (64, 40)), x()):
        captured = capture(classifier, images)
        torch.testing.assert_close(captured.logits, network(images))
        torch.testing.assert_close(
            compute_maps(captured, "grad_cam"),
            whole_graph_maps(network, "last", images, lambda A: A)["grad_cam"],
        )


def test_relus_in_place_whose_result_is_not_used():
    class InPlace(Plain):
        def __init__(self, apply):
            super().__init__()
            self.convolution, self.apply_to = nn.Conv2d(3, 6, 3, 2, 1), apply

        def forward(self, x):
            A = self.convolution(x)
            result = self.apply_to(A)
            return self.fc(self.last[1]((A if result is None else result).mean((2, 3))))

    def network(apply):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return InPlace(apply).eval()

    def statement(function):
        def apply(A):
            function(A)

        return apply

    expected = heatmaps(network(F.relu), x(), "guided_grad_cam", layer="convolution")
    assert expected.max() == 1
    for function in (F.relu_, torch.relu_, torch.Tensor.relu_, nn.ReLU(inplace=True)):
        actual = heatmaps(network(statement(function)), x(), "guided_grad_cam", layer="convolution")
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    actual = heatmaps(
        network(lambda A: torch.relu(input=A)), x(), "guided_grad_cam", layer="convolution"
    )
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_the_class_of_a_single_logit_is_not_called_negative():
    with pytest.raises(InputError, match="classes: 'negative' is the evidence against a single"):
        cut(plain(classes=1), x(), classes=["negative"])


def test_a_network_that_replaces_a_parameter_for_another_size_keeps_its_own():
    class Adapting(Plain):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.randn(1, 6, 4, 6))

        def forward(self, x):
            A = self.last(self.stem(x))
            if A.shape[-2:] != self.position.shape[-2:]:
                self.position = nn.Parameter(F.interpolate(self.position, A.shape[-2:]))
            return self.fc((A + self.position).mean((2, 3)))

    network = Adapting().eval()
    position = network.position
    cut(network, x(), "last")
    assert network.position is position


def test_a_network_that_normalises_its_input_in_place_leaves_the_images_alone():
    class Normalising(Plain):
        def forward(self, x):
            return super().forward(x.sub_(0.5).div_(0.25))

    images = x()
    maps = heatmaps(Normalising().eval(), images, layer="last")
    torch.testing.assert_close(images, x())
    assert np.isfinite(maps).all()


def test_networks_that_only_look_quantised_or_check_their_batch():
    quantisable = torchvision.models.quantization.resnet18(num_classes=4, quantize=False).eval()
    assert cut(quantisable, F.interpolate(x(), (64, 96))).cam_layer == "layer4"

    class Checking(Plain):
        def forward(self, x):
            pooled = self.backbone(x)
            if len(pooled) != len(x):
                raise ValueError("batch")
            return self.fc(pooled)

    captured = capture(cut(Checking().eval(), x(), "last"), x())
    assert compute_maps(captured, "grad_cam").shape == (2, 4, 4, 6)


def test_a_scripted_part_is_passed_over_and_a_second_name_is_a_name():
    network = Part(plain())
    network.part.mlp = torch.jit.script(nn.Identity())
    network.target = network.part.last
    assert cut(network, x(), "target").cam_layer == "part.last"
    assert cut(network, x(), network.target).cam_layer == "part.last"


def test_memory_that_does_not_hold_is_not_said_to_be_something_else(monkeypatch):
    networks = {"grad_cam": plain(mlp=True), "guided_grad_cam": plain()}
    captures = {
        method: capture(cut(network, x(), "last"), x()) for method, network in networks.items()
    }

    def fail(*_args, **_options):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.autograd, "grad", fail)
    for method, captured in captures.items():
        with pytest.raises(torch.OutOfMemoryError):
            compute_maps(captured, method)
    with pytest.raises(torch.OutOfMemoryError):
        cut(plain(mlp=True), x(), "last", grid=lambda A: A)


def test_target_classes_may_be_numbers_of_torch():
    predictions = plain()(x()).argmax(dim=1)
    np.testing.assert_array_equal(
        heatmaps(plain(), x(), classes=list(predictions)),
        heatmaps(plain(), x(), classes=predictions),
    )
