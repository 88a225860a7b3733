"""Maps against numbers worked out by hand, against identities, and against plain autograd."""

import copy
import math
import os
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pokecam.cam import perturbation
from pokecam.cam.capture import capture
from pokecam.cam.fitting import check_methods
from pokecam.cam.maps import class_indices, class_targets, compute_maps, finer_targets
from pokecam.cam.methods import METHODS
from pokecam.common.errors import InputError
from pokecam.networks.classifier import Classifier, build_classifier, prepare
from tests.support.networks import SIZE_PX, backbone_and_head_parameters, size_px

CLASSES = ("a", "b", "c")


def tiny(head):
    """One image [[1, -2], [3, -4]], all red, becomes A_1 = [[1, 0], [3, 0]] and
    A_2 = [[0, 2], [0, 4]]."""
    convolution = nn.Conv2d(3, 2, kernel_size=1, bias=False)
    convolution.weight.data = torch.tensor([[1.0, 0, 0], [-1, 0, 0]]).view(2, 3, 1, 1)
    body = nn.Sequential(convolution, nn.ReLU(inplace=True))
    return Classifier(body, head, backbone="resnet18", head_kind="gap", classes="ab", image_size=2)


def linear(weight, bias):
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    return layer


def averaging_head():
    layer = linear([[2.0, -1.0], [0.0, 3.0]], [0.5, -1.0])
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), layer)


RED = torch.tensor([[1.0, -2.0], [3.0, -4.0]])
IMAGE = torch.stack([RED, torch.zeros(2, 2), torch.zeros(2, 2)])[None]


A_1 = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
A_2 = torch.tensor([[0.0, 2.0], [0.0, 4.0]])

# What each method gives for the averaging head, whose logits are 1 and 3.5, whose gradients are
# 1/2 and -1/4 for the first class, 0 and 3/4 for the second, at every pixel.
BY_HAND = {
    "cam": [2 * A_1 - A_2, 3 * A_2],
    "grad_cam": [A_1 / 2 - A_2 / 4, A_2 * 3 / 4],
    "counterfactual": [A_2 / 4 - A_1 / 2, -A_2 * 3 / 4],
    "hires_cam": [A_1 / 2 - A_2 / 4, A_2 * 3 / 4],
    "xgrad_cam": [A_1 / 2 - A_2 / 4, A_2 * 3 / 4],
    "layer_cam": [A_1 / 2, A_2 * 3 / 4],
    # Four pixels of g / (2 + ΣA · g), with ΣA_1 = 4 and ΣA_2 = 6.
    "grad_cam_plus_plus": [4 * 0.5 / (2 + 4 * 0.5) * A_1, 4 * 0.75 / (2 + 6 * 0.75) * A_2],
    # Without a channel, whose means are 1 and 3/2, the first logit falls by 2 and by -3/2, the
    # second by 0 and by 9/2.
    "ablation_cam": [2 * A_1 - 3 / 2 * A_2, 9 / 2 * A_2],
    # Masked by A_1 / 3 the image is [[1/3, 0], [3, 0]], with logits 13/6 and -1. Masked by A_2 / 4
    # it is [[0, -1], [0, -4]], with logits -3/4 and 11/4.
    "score_cam": [
        A_1 / (1 + math.exp(-35 / 12)) + A_2 / (1 + math.exp(35 / 12)),
        A_1 / (1 + math.exp(15 / 4)) + A_2 / (1 + math.exp(-15 / 4)),
    ],
    # Less 0.6 times the other class: weights 2 and -1 - 1.8, -1.2 and 3 + 0.6.
    "finer_cam": [2 * A_1 - 2.8 * A_2, -1.2 * A_1 + 3.6 * A_2],
    "finer_grad_cam": [A_1 / 2 - 0.7 * A_2, -0.3 * A_1 + 0.9 * A_2],
    # The covariance is [[6, -6], [-6, 11]]; its largest eigenvalue, 15, has the vector (-2, 3).
    "eigen_cam": [torch.tensor([[-4.5, 3.5], [-8.5, 9.5]]) / math.sqrt(13)],
    # 1/2 reaches the image through A_1, where that is positive; -1/4 does not pass; 3/4 does.
    "guided_grad_cam": [A_1 / 2 * 0.5, A_2 * 3 / 4 * 0.75],
}


@pytest.mark.parametrize("method", BY_HAND)
def test_by_hand(method):
    captured = capture(tiny(averaging_head()), IMAGE)
    assert captured.logits.tolist() == [[1.0, 3.5]]
    torch.testing.assert_close(compute_maps(captured, method), torch.stack(BY_HAND[method])[None])


def test_every_method_is_worked_out_by_hand():
    in_other_tests = {"random", "centre", "edges", "pamr_cam", "pamr_grad_cam"}
    in_other_tests |= {"occlusion", "fine_occlusion"}
    assert BY_HAND.keys() | in_other_tests == METHODS.keys()


# The same for a head whose gradient differs from pixel to pixel: [[1, 2], [3, 6]] for A_1 and
# [[0, 0], [-4, 0]] for A_2. The logit is 10, without A_1 it is 0, without A_2 still 10.
FULLY_CONNECTED = {
    "grad_cam": 3 * A_1 - A_2,
    "counterfactual": A_2 - 3 * A_1,
    "hires_cam": torch.tensor([[1.0, 0.0], [9.0, 0.0]]),
    "layer_cam": torch.tensor([[1.0, 0.0], [9.0, 0.0]]),
    "xgrad_cam": 10 / 4 * A_1,
    "grad_cam_plus_plus": (1 / 6 + 2 / 10 + 3 / 14 + 6 / 26) * A_1,
    "ablation_cam": 10 * A_1,
}


@pytest.mark.parametrize("method", FULLY_CONNECTED)
def test_by_hand_with_a_fully_connected_head(method):
    head = nn.Sequential(nn.Flatten(), linear([[1.0, 2, 3, 6, 0, 0, -4, 0]], [0.0]))
    captured = capture(tiny(head), IMAGE)
    torch.testing.assert_close(compute_maps(captured, method), FULLY_CONNECTED[method][None, None])


@pytest.mark.parametrize("bias", [0.0, 5.0, 5.125, 105.0])
def test_ablation_does_not_depend_on_the_size_or_sign_of_the_score(bias):
    head = nn.Sequential(nn.Flatten(), linear([[1.0, 0, 0, 0, 0, -3, 0, 0]], [bias]))
    captured = capture(tiny(head), IMAGE)
    assert captured.logits.item() == bias - 5  # 1 of it is from A_1, −6 from A_2
    expected = (A_1 - 6 * A_2)[None, None]
    torch.testing.assert_close(compute_maps(captured, "ablation_cam"), expected, rtol=1e-4, atol=0)


def test_finer_targets_by_hand():
    logits = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    S = finer_targets(logits, [[0, 4]])
    assert torch.allclose(S[0], torch.tensor([1, 0, 0, 0, -0.6]))  # its look-alike, always
    assert torch.allclose(S[4], torch.tensor([-0.6, 0, 0, 0, 1]))
    assert torch.allclose(S[1, 0], torch.tensor([-0.2, 1, -0.2, -0.2, 0]))  # most probable others
    assert torch.allclose(S[1, 1], torch.tensor([0, 1, -0.2, -0.2, -0.2]))


def test_baselines_by_hand():
    captured = capture(tiny(averaging_head()), IMAGE)
    corner = math.exp(-2 * 0.25**2 / (2 * 0.25**2))
    torch.testing.assert_close(compute_maps(captured, "centre"), torch.full((1, 1, 2, 2), corner))
    # With the border repeated, across: 3 (-2 - 1) + (-4 - 3) and (-2 - 1) + 3 (-4 - 3); down:
    # 3 (3 - 1) + (-4 + 2) and (3 - 1) + 3 (-4 + 2).
    expected = torch.tensor([[math.hypot(16, 4)] * 2, [math.hypot(24, 4)] * 2]) / 3  # grey
    torch.testing.assert_close(compute_maps(captured, "edges"), expected[None, None])


def test_random_maps_follow_from_the_image_alone():
    images = torch.cat([IMAGE, 2 * IMAGE])
    first = compute_maps(capture(tiny(averaging_head()), images), "random")
    assert torch.equal(first, compute_maps(capture(tiny(averaging_head()), images), "random"))
    assert torch.equal(
        first[1:], compute_maps(capture(tiny(averaging_head()), images[1:]), "random")
    )
    assert not torch.equal(first[0], first[1])
    assert 0 <= first.min() < first.max() < 1


def test_target_is_the_logit_of_each_image_alone():
    images = torch.cat([IMAGE, 2 * IMAGE, -IMAGE])
    head = nn.Sequential(nn.Flatten(), linear([[1.0, 2, 3, 6, 0, 0, -4, 0]], [0.0]), nn.Tanh())
    together = compute_maps(capture(tiny(head), images), "grad_cam")
    alone = [compute_maps(capture(tiny(head), image[None]), "grad_cam") for image in images]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.fixture(scope="module", params=backbone_and_head_parameters())
def network(request):
    backbone, head = request.param
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_classifier(backbone, head, CLASSES, size_px(backbone)).eval()
        nn.init.normal_(model.last_layer.weight)  # vision transformers begin with zeros
    # Double precision: the maps of untrained networks are small differences of large sums.
    return model.double()


def noise(side):
    values = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    return prepare(torch.from_numpy(values))


@pytest.fixture(scope="module")
def images():
    return noise(SIZE_PX)


def fitting(network):
    """The methods that fit the network, without the slow ones, which have tests of their own."""
    names = []
    for name in METHODS:
        with suppress(InputError):
            check_methods([name], network, parameter="methods")
            names.append(name)
    return [name for name in names if not METHODS[name].slow]


def assert_same_maps(actual, expected, flat_is_fine=False):
    """Equal to 1e-5 of the largest value of each map."""
    largest = expected.abs().amax(dim=(-2, -1), keepdim=True)
    assert flat_is_fine or (largest > 0).all()
    assert ((actual - expected).abs() <= 1e-5 * largest).all()


def test_identities_of_a_linear_head(network):
    if network.linear is None:
        assert network.head_kind == "native"
        return
    images = noise(network.image_size).double()
    captured = capture(network, images)
    cam, grad_cam, hires_cam = (compute_maps(captured, m) for m in ("cam", "grad_cam", "hires_cam"))
    h, w = cam.shape[-2:]
    assert_same_maps(h * w * grad_cam, cam)
    assert_same_maps(hires_cam, grad_cam)
    bias = 0 if network.linear.bias is None else network.linear.bias
    logits = cam.mean(dim=(2, 3)) + bias
    torch.testing.assert_close(logits, network(images), rtol=1e-4, atol=1e-5)


def test_equals_plain_autograd_on_the_full_network(network):
    """An independent Grad-CAM: a hook, one image and one class at a time."""
    outputs = []
    hook = network.body.register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output)
    )
    expected = []
    images = noise(network.image_size).double()
    for image in images:
        for logit in network(image[None])[0]:
            features = outputs[-1]
            (g,) = torch.autograd.grad(logit, features, retain_graph=True)
            A, g = network.grid(features), network.grid(g)
            expected.append((g.mean(dim=(2, 3), keepdim=True) * A).sum(dim=1).detach())
    hook.remove()
    actual = compute_maps(capture(network, images), "grad_cam")
    assert_same_maps(actual, torch.cat(expected).view_as(actual))


def test_batched_equals_one_by_one(network):
    images = noise(network.image_size).double()
    together = capture(network, images)
    alone = [capture(network, image[None]) for image in images]
    for method in fitting(network):
        each = [compute_maps(captured, method) for captured in alone]
        assert_same_maps(compute_maps(together, method), torch.cat(each), flat_is_fine=True)


def test_capture_gives_the_logits_of_a_plain_forward(network):
    images = noise(network.image_size).double()
    with torch.no_grad():
        expected = network(images)
    torch.testing.assert_close(capture(network, images).logits.detach(), expected)


def small_network(head="gap"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_classifier("squeezenet1_1", head, CLASSES, SIZE_PX)


def test_network_and_input_are_not_changed(images):
    network = small_network()
    network.train()
    network.head.eval()
    network.body.features[3].eval()
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = images.clone()

    result = compute_maps(capture(network, x), "grad_cam")

    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(x, images)
    assert not result.requires_grad


def test_modes_are_restored_after_an_exception():
    network = small_network().train()
    with pytest.raises(RuntimeError):
        capture(network, torch.zeros(1, 5, SIZE_PX, SIZE_PX))
    assert all(module.training for module in network.modules())


def test_dropout_does_not_disturb_a_network_in_training_mode(images):
    network = small_network("native").train()
    first, second = (compute_maps(capture(network, images), "grad_cam") for _ in range(2))
    assert torch.equal(first, second)


def test_frozen_network(images):
    network = small_network()
    expected = compute_maps(capture(network, images), "grad_cam")
    assert torch.equal(
        compute_maps(capture(network.requires_grad_(False), images), "grad_cam"), expected
    )


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode])
def test_inside_a_block_without_gradients(surrounding, images):
    network = small_network()
    expected = compute_maps(capture(network, images), "grad_cam")
    with surrounding():
        inside = compute_maps(capture(network, images), "grad_cam")
    assert torch.equal(inside, expected)


def test_head_that_works_in_place_does_not_change_the_activations():
    hardtanh = nn.Hardtanh(-1, 2, inplace=True)
    captured = capture(tiny(nn.Sequential(hardtanh, *averaging_head())), IMAGE)
    assert captured.activations.tolist() == [[[[1, 0], [3, 0]], [[0, 2], [0, 4]]]]
    # Hardtanh stops the gradient at 2 and beyond: mean gradients are 3/4 and 2/4 of the linear
    # head's, (1/2, -1/4) for the first class, (0, 3/4) for the second.
    expected = [[[[0.375, -0.25], [1.125, -0.5]], [[0.0, 0.75], [0.0, 1.5]]]]
    assert compute_maps(captured, "grad_cam").tolist() == expected


@pytest.mark.parametrize("head", ["gap", "native"])
@pytest.mark.parametrize("method", ["score_cam", "ablation_cam"])
def test_perturbation_batched_equals_one_by_one(method, head, monkeypatch, images):
    network, images = small_network(head).double(), images.double()
    alone = [compute_maps(capture(network, image[None]), method) for image in images]
    for at_once in (3, 512):
        monkeypatch.setattr(perturbation, "AT_ONCE", at_once)
        together = compute_maps(capture(network, images), method)
        # SqueezeNet's own head ends in a ReLU: where the score is 0, so is the map.
        assert_same_maps(together, torch.cat(alone), flat_is_fine=head == "native")


def test_ablation_in_closed_form_equals_running_the_head(monkeypatch, images):
    captured = capture(small_network().double(), images.double())
    expected = compute_maps(captured, "ablation_cam")
    monkeypatch.setattr(type(captured), "head_is_linear", False)
    assert_same_maps(compute_maps(captured, "ablation_cam"), expected)


def test_classes_that_do_not_fit_into_memory_at_once(monkeypatch, images):
    captured = capture(small_network(), images)
    expected = compute_maps(captured, "grad_cam")
    monkeypatch.setattr("pokecam.cam.maps.GRADIENT_BYTES", 1)
    torch.testing.assert_close(compute_maps(captured, "grad_cam"), expected)


def test_method_that_does_not_fit_is_refused(images):
    with pytest.raises(InputError, match="cam needs nothing but average pooling"):
        compute_maps(capture(small_network("native"), images), "cam")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_from_batch_to_batch():
    network = small_network("native")
    images = noise(128)
    capture_bytes = capture(network, images).features.nbytes
    for number in range(220):
        if number == 20:
            before = resident_bytes()
        captured = capture(network, images)
        for method in ("grad_cam", "guided_grad_cam"):
            compute_maps(captured, method)
    # If captures stayed in memory, with or without their graphs, it would grow by more than this.
    assert resident_bytes() - before < 200 * capture_bytes / 2


def test_a_body_in_half_precision_gives_maps_in_float32(images):
    network = small_network("native")
    halved = network.with_halves(copy.deepcopy(network.body).bfloat16(), network.head)
    exact, coarse = capture(network, images), capture(halved, images.bfloat16())
    assert coarse.features.dtype == coarse.logits.dtype == torch.float32
    assert not torch.equal(coarse.features, exact.features)
    largest = exact.features.abs().max()
    assert (coarse.features - exact.features).abs().max() < 0.05 * largest
    assert torch.equal(coarse.logits, network.eval().head(coarse.features))
    for method in ("grad_cam", "score_cam"):
        expected = compute_maps(exact, method)
        assert compute_maps(coarse, method).dtype == torch.float32
        assert (compute_maps(coarse, method) - expected).abs().max() < 0.2 * expected.abs().max()


def test_a_callers_autocast_changes_nothing(images):
    network = small_network("native")
    methods = ("grad_cam", "hires_cam", "ablation_cam", "score_cam", "guided_grad_cam")
    expected = {method: compute_maps(capture(network, images), method) for method in methods}
    with torch.autocast("cpu", torch.bfloat16):
        for method, values in expected.items():
            assert torch.equal(compute_maps(capture(network, images), method), values)


def test_an_unknown_method_is_refused_with_the_nearest_name():
    captured = capture(
        build_classifier("resnet18", "gap", ["a", "b"], 64), torch.zeros(1, 3, 64, 64)
    )
    with pytest.raises(InputError, match=r"gradcam is not known\. Did you mean grad_cam\?"):
        compute_maps(captured, "gradcam")


def seven_classes():
    """A head of pooling and one linear layer, and only ReLU, so that every method fits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 6, 5, 4), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7))
    network = Classifier(
        body, head, backbone="resnet18", head_kind="gap", classes="abcdefg", image_size=SIZE_PX
    )
    return network.double().eval()


@pytest.mark.parametrize("lookalikes", [(), ((2, 5), (0, 3, 4))], ids=["no groups", "groups"])
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_chosen_classes_are_rows_of_the_maps_of_all(method, lookalikes, images):
    """Also where a class stands twice, and where a look-alike is not among the classes."""
    captured = capture(seven_classes(), images.double())
    maps = compute_maps(captured, method, lookalikes)
    classes = [5, 0, 5, 6]
    chosen = compute_maps(captured, method, lookalikes, classes=classes)
    expected = maps[:, classes] if METHODS[method].per_class else maps
    scale = max(float(maps.abs().max()), 1e-6)
    assert chosen.shape == expected.shape
    assert float((chosen - expected).abs().max()) < 1e-9 * scale


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_given_the_targets_of_the_chosen_classes_only(method, monkeypatch, images):
    """So the time of a method falls with the number of classes; nothing is computed and dropped."""
    entry, n_targets = METHODS[method], []
    function = entry.function

    def count(captured, targets):
        n_targets.append(len(targets))
        return function(captured, targets)

    monkeypatch.setattr(f"pokecam.cam.{entry.path.replace(':', '.')}", count)
    compute_maps(capture(seven_classes(), images.double()), method, classes=[3, 1])
    assert sum(n_targets) == (2 if entry.per_class else 1)


def test_targets_of_few_classes_take_no_memory_for_all():
    """The identity matrix of 200,000 classes would have 160 GB."""
    logits = torch.zeros(2, 200_000)
    for targets in (class_targets(logits, [7]), finer_targets(logits, (), [7])):
        assert targets.shape == (1, 2, 200_000)
        assert targets[0, :, 7].tolist() == [1, 1]


@pytest.mark.parametrize(
    "classes", [["f", "a"], [5, "a"], np.array([5, 0]), torch.tensor([5, 0]), (np.int64(5), 0)]
)
def test_classes_are_names_or_indices(classes, images):
    captured = capture(seven_classes(), images.double())
    maps = compute_maps(captured, "cam", classes=classes)
    torch.testing.assert_close(maps, compute_maps(captured, "cam")[:, [5, 0]])


@pytest.mark.parametrize("one", [5, "f", torch.tensor(5)])
def test_one_class_needs_no_list(one, images):
    captured = capture(seven_classes(), images.double())
    maps = compute_maps(captured, "cam", classes=one)
    torch.testing.assert_close(maps, compute_maps(captured, "cam")[:, [5]])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "classes: none given, names or indices expected"),
        ([0, 7], "classes: 7 is no class of the network. Give names, or indices from 0 to 6"),
        (-1, "classes: -1 is no class"),
        ([True, False], "classes: True is no class"),  # a mask is no list of indices
        (0.5, "classes: 0.5 is no class"),
        (torch.tensor([[3]]), "classes: [3] is no class"),
        (["a", "F"], "classes: 'F' is no class of the network. Did you mean f? Give names"),
    ],
    ids=str,
)
def test_classes_that_the_network_does_not_have_are_refused(classes, message, images):
    with pytest.raises(InputError, match=re.escape(message)):
        compute_maps(capture(seven_classes(), images.double()), "cam", classes=classes)


def test_a_name_of_two_classes_is_refused():
    with pytest.raises(InputError, match=r"'crane' is the name of the classes \[0, 2\]"):
        class_indices("crane", ["crane", "dog", "crane"])
    assert class_indices([2, "dog"], ["crane", "dog", "crane"]) == [2, 1]
