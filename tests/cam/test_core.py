"""Maps against numbers worked out by hand, against identities, and against plain autograd."""

import numpy as np
import pytest
import torch
from torch import nn

from pokecam.backbones import BACKBONES
from pokecam.cam import core
from pokecam.cam.core import capture, maps
from pokecam.cam.methods import METHODS
from pokecam.classifier import Classifier, build, prepare
from pokecam.errors import InputError

CLASSES = ("a", "b", "c")
SIZE_PX = 64

NETWORKS = [(backbone, head) for backbone in BACKBONES for head in ("gap", "native")]
WITH_LINEAR_HEAD = [
    (backbone, head)
    for backbone, head in NETWORKS
    if head == "gap" or backbone in ("resnet18", "resnet50", "mobilenet_v2")
]


def tiny(head):
    """One picture [[1, -2], [3, -4]] becomes A_1 = [[1, 0], [3, 0]], A_2 = [[0, 2], [0, 4]]."""
    convolution = nn.Conv2d(1, 2, kernel_size=1, bias=False)
    convolution.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    body = nn.Sequential(convolution, nn.ReLU(inplace=True))
    return Classifier(body, head, backbone="tiny", head_kind="gap", classes="ab", image_size=2)


def linear(weight, bias):
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    return layer


def averaging_head():
    layer = linear([[2.0, -1.0], [0.0, 3.0]], [0.5, -1.0])
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), layer)


PICTURE = torch.tensor([[[[1.0, -2.0], [3.0, -4.0]]]])


def test_cam_by_hand():
    captured = capture(tiny(averaging_head()), PICTURE)
    # 2 A_1 - A_2 and 3 A_2
    expected = [[[[2.0, -2.0], [6.0, -4.0]], [[0.0, 6.0], [0.0, 12.0]]]]
    assert captured.logits.tolist() == [[1.0, 3.5]]
    assert maps(captured, "cam").tolist() == expected


def test_grad_cam_by_hand():
    captured = capture(tiny(averaging_head()), PICTURE)
    expected = [[[[0.5, -0.5], [1.5, -1.0]], [[0.0, 1.5], [0.0, 3.0]]]]
    assert maps(captured, "grad_cam").tolist() == expected


def test_grad_cam_by_hand_with_a_fully_connected_head():
    # The gradient is the row of weights itself; its mean is 3 over A_1 and -1 over A_2.
    head = nn.Sequential(nn.Flatten(), linear([[1.0, 2, 3, 6, 0, 0, -4, 0]], [0.0]))
    captured = capture(tiny(head), PICTURE)
    assert maps(captured, "grad_cam").tolist() == [[[[3.0, -2.0], [9.0, -4.0]]]]


def test_target_is_the_logit_of_each_picture_alone():
    pictures = torch.cat([PICTURE, 2 * PICTURE, -PICTURE])
    head = nn.Sequential(nn.Flatten(), linear([[1.0, 2, 3, 6, 0, 0, -4, 0]], [0.0]), nn.Tanh())
    together = maps(capture(tiny(head), pictures), "grad_cam")
    alone = [maps(capture(tiny(head), picture[None]), "grad_cam") for picture in pictures]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.fixture(scope="module", params=NETWORKS, ids="-".join)
def network(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(*request.param, CLASSES, SIZE_PX).eval()


@pytest.fixture(scope="module")
def pictures():
    noise = np.random.default_rng(0).integers(0, 256, (2, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    return prepare(torch.from_numpy(noise))


def fitting(network):
    return [name for name in METHODS if not METHODS[name].linear_head or network.linear]


def assert_same_maps(actual, expected):
    """Equal to 1e-5 of the largest value of each map."""
    largest = expected.abs().amax(dim=(-2, -1), keepdim=True)
    assert (largest > 0).all()
    assert ((actual - expected).abs() <= 1e-5 * largest).all()


@pytest.mark.parametrize("network", WITH_LINEAR_HEAD, ids="-".join, indirect=True)
def test_identities_of_a_linear_head(network, pictures):
    captured = capture(network, pictures)
    cam, grad_cam = maps(captured, "cam"), maps(captured, "grad_cam")
    h, w = cam.shape[-2:]
    assert_same_maps(h * w * grad_cam, cam)
    logits = cam.mean(dim=(2, 3)) + network.linear.bias
    torch.testing.assert_close(logits, network(pictures), rtol=1e-5, atol=1e-5)


def test_equals_plain_autograd_on_the_full_network(network, pictures):
    """An independent Grad-CAM: a hook, one picture and one class at a time."""
    kept = []
    hook = network.body.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    expected = []
    for picture in pictures:
        for logit in network(picture[None])[0]:
            A = kept[-1]
            (g,) = torch.autograd.grad(logit, A, retain_graph=True)
            expected.append((g.mean(dim=(2, 3), keepdim=True) * A).sum(dim=1).detach())
    hook.remove()
    actual = maps(capture(network, pictures), "grad_cam")
    assert_same_maps(actual, torch.cat(expected).view_as(actual))


def test_batched_equals_one_by_one(network, pictures):
    for method in fitting(network):
        together = maps(capture(network, pictures), method)
        alone = [maps(capture(network, picture[None]), method) for picture in pictures]
        assert_same_maps(together, torch.cat(alone))


def test_capture_gives_the_logits_of_a_plain_forward(network, pictures):
    with torch.no_grad():
        expected = network(pictures)
    torch.testing.assert_close(capture(network, pictures).logits.detach(), expected)


def test_activations_are_those_after_the_last_activation_function(network, pictures):
    A = capture(network, pictures).activations
    # hardswish has its minimum at -3/8; ReLU and ReLU6 are 0 somewhere in any real layer.
    lowest = -0.375 if network.backbone == "mobilenet_v3_small" else 0
    assert lowest <= A.min() <= 0
    assert A.dtype == torch.float32


def small_network(head="gap"):
    return build("squeezenet1_1", head, CLASSES, SIZE_PX)


def test_network_and_input_are_left_as_they_were(pictures):
    network = small_network()
    network.train()
    network.head.eval()
    network.body.features[3].eval()
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = pictures.clone()

    result = maps(capture(network, x), "grad_cam")

    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(x, pictures)
    assert not result.requires_grad


def test_modes_are_restored_after_an_exception():
    network = small_network().train()
    with pytest.raises(RuntimeError):
        capture(network, torch.zeros(1, 5, SIZE_PX, SIZE_PX))
    assert all(module.training for module in network.modules())


def test_dropout_does_not_disturb_a_network_in_training_mode(pictures):
    network = small_network("native").train()
    first, second = (maps(capture(network, pictures), "grad_cam") for _ in range(2))
    assert torch.equal(first, second)


def test_frozen_network(pictures):
    network = small_network()
    expected = maps(capture(network, pictures), "grad_cam")
    assert torch.equal(maps(capture(network.requires_grad_(False), pictures), "grad_cam"), expected)


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode])
def test_inside_a_block_without_gradients(surrounding, pictures):
    network = small_network()
    expected = maps(capture(network, pictures), "grad_cam")
    with surrounding():
        inside = maps(capture(network, pictures), "grad_cam")
    assert torch.equal(inside, expected)


def test_head_that_works_in_place_does_not_change_the_activations():
    cut = nn.Hardtanh(-1, 2, inplace=True)
    captured = capture(tiny(nn.Sequential(cut, *averaging_head())), PICTURE)
    assert captured.activations.tolist() == [[[[1, 0], [3, 0]], [[0, 2], [0, 4]]]]
    # Hardtanh stops the gradient at 2 and beyond: mean gradients are 3/4 and 2/4 of the linear
    # head's, (1/2, -1/4) for the first class, (0, 3/4) for the second.
    expected = [[[[0.375, -0.25], [1.125, -0.5]], [[0.0, 0.75], [0.0, 1.5]]]]
    assert maps(captured, "grad_cam").tolist() == expected


def test_classes_that_do_not_fit_into_memory_at_once(monkeypatch, pictures):
    captured = capture(small_network(), pictures)
    expected = maps(captured, "grad_cam")
    monkeypatch.setattr(core, "GRADIENT_BYTES", 1)
    torch.testing.assert_close(maps(captured, "grad_cam"), expected)


def test_method_that_does_not_fit_is_refused(pictures):
    with pytest.raises(InputError, match="cam needs a head of average pooling"):
        maps(capture(small_network("native"), pictures), "cam")
