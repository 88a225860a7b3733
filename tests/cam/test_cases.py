"""What people give to the Python API, against the same function written plainly in float64."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from pokecam.cam.anywhere import cut, heatmaps
from pokecam.cam.capture import capture
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.common.errors import InputError
from tests.conftest import PROJECT
from tests.support.api_cases import REFUSED, WORKS, Plain, Works, plain, x
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
