"""Equality with pytorch-grad-cam and captum, wherever they follow the papers.

Raw maps are compared, before ReLU, upsampling and normalisation, within 1e-5 of the largest value.
The weights of the last layer are enlarged, so that the epsilon of a library makes no difference.
"""

import copy

import numpy as np
import pytest
import pytorch_grad_cam as pgc
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, GuidedGradCam, LayerGradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from pokecam.cam import perturbation
from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.guided import guided_backpropagation
from pokecam.cam.maps import class_targets, compute_maps
from pokecam.networks.classifier import build_classifier, prepare

CLASSES = ("a", "b", "c")
SIZE_PX = 64
ENLARGED = 1000

PEERS = {
    "grad_cam": pgc.GradCAM,
    "grad_cam_plus_plus": pgc.GradCAMPlusPlus,
    "hires_cam": pgc.HiResCAM,
    "layer_cam": pgc.LayerCAM,
    "xgrad_cam": pgc.XGradCAM,
    "eigen_cam": pgc.EigenCAM,
    "ablation_cam": pgc.AblationCAM,
    "score_cam": pgc.ScoreCAM,
}
NETWORKS = [
    ("resnet18", "gap"),
    ("vgg11", "gap"),
    ("mobilenet_v3_small", "gap"),
    ("mobilenet_v3_small", "native"),
    ("vgg16", "gap"),
    ("vgg16", "native"),
]


def case(network, *more, slow):
    """A parameter with a readable name. Slow ones run in the long form only: VGG-16 takes the other
    libraries minutes."""
    name = "-".join((*network, *more))
    return pytest.param(network, *more, id=name, marks=pytest.mark.slow if slow else ())


EACH = [case(network, slow=network[0] == "vgg16") for network in NETWORKS]
# pytorch-grad-cam ablates to min - 1e7 instead of to 0 where the minimum is not 0, as in MobileNet.
EACH_WITH_METHODS = [
    case(
        network,
        method,
        slow=network[0] == "vgg16"
        or (method in ("score_cam", "ablation_cam") and network[0] != "resnet18"),
    )
    for network in NETWORKS
    for method in PEERS
    if (network[0], method) != ("mobilenet_v3_small", "ablation_cam")
]


@pytest.fixture(scope="module")
def network(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_classifier(*request.param, CLASSES, SIZE_PX).eval()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Linear):
                    nn.init.kaiming_normal_(module.weight)  # torchvision's are far smaller
            if model.backbone == "mobilenet_v3_small":  # no channel's sum near 0, either
                model.body.features[-1][1].weight *= ENLARGED**4
            model.last_layer.weight *= ENLARGED
    return model.double()


@pytest.fixture(scope="module")
def images():
    noise = np.random.default_rng(0).integers(0, 256, (2, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    return prepare(torch.from_numpy(noise)).contiguous().double()


def raw(peer):
    """A subclass of the peer's class that stores its map before scaling it."""

    class Raw(peer):
        def get_cam_image(self, *args):
            self.raw = super().get_cam_image(*args)
            return self.raw

    return Raw


def peer_maps(peer, network, images, label):
    """The raw maps (N, h, w) of one class and the scaled ones, from a copy of the network."""
    network = copy.deepcopy(network)
    extractor = raw(peer)(network, [network.body])
    scaled = extractor(images, [ClassifierOutputTarget(label)] * len(images))
    return torch.from_numpy(np.asarray(extractor.raw, dtype=np.float64)), scaled


def assert_same(actual, expected, tolerance=1e-5):
    largest = expected.abs().amax(dim=(-2, -1), keepdim=True)
    assert (largest > 0).any()
    assert ((actual - expected).abs() <= tolerance * largest).all()


def aligned_corners(channels, size):
    return F.interpolate(channels[:, None], size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize(("network", "method"), EACH_WITH_METHODS, indirect=["network"])
def test_pytorch_grad_cam(network, images, method, monkeypatch):
    if method == "score_cam":  # its scores are in single precision, and are enlarged for softmax
        network = copy.deepcopy(network)
        network.last_layer.weight.data /= ENLARGED
        monkeypatch.setattr(perturbation, "enlarge", aligned_corners)
    captured = capture(network, images)
    ours = compute_maps(captured, method)
    labels = range(len(CLASSES))
    if method == "score_cam":  # takes the peer a minute each; some classes' maps are all zero
        labels = [int(ours.amax(dim=(0, 2, 3)).argmax())]
    for label in labels:
        actual = ours[:, label if ours.shape[1] > 1 else 0]
        expected, _ = peer_maps(PEERS[method], network, images, label)
        if method == "ablation_cam":  # divides by S
            expected *= captured.logits[:, label, None, None].detach()
        if method == "eigen_cam":  # its sign is what the decomposition happens to give
            expected *= (expected * actual).sum(dim=(1, 2), keepdim=True).sign()
        assert_same(actual, expected)


@pytest.mark.parametrize("network", EACH, indirect=True)
def test_what_pytorch_grad_cam_shows(network, images):
    """It subtracts the minimum before and after upsampling, which ours does not."""
    heatmaps = peer_maps(pgc.GradCAM, network, images, 0)[1]
    coarse = compute_maps(capture(network, images), "grad_cam")[:, 0].clamp(min=0)
    coarse -= coarse.amin(dim=(1, 2), keepdim=True)
    expected = display(coarse.float().numpy(), SIZE_PX)
    expected -= expected.min(axis=(1, 2), keepdims=True)
    expected /= expected.max(axis=(1, 2), keepdims=True) + 1e-7
    np.testing.assert_allclose(heatmaps, expected, atol=1e-5)


def without_inplace(network):
    network = copy.deepcopy(network)
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return network


@pytest.mark.parametrize("network", EACH, indirect=True)
def test_captum_grad_cam(network, images):
    hookable = without_inplace(network)
    ours = compute_maps(capture(network, images), "grad_cam")
    for label in range(len(CLASSES)):
        expected = LayerGradCam(hookable, hookable.body).attribute(images, target=label)[:, 0]
        assert_same(ours[:, label], expected.detach())


def guidable(backbone="resnet18"):
    """A network whose ReLU modules run once each, which captum's hooks need."""
    torch.manual_seed(0)
    return build_classifier(backbone, "gap", CLASSES, SIZE_PX).eval().double()


@pytest.mark.parametrize("backbone", ["vgg16", "squeezenet1_1"])
def test_captum_guided(images, backbone):
    network = guidable(backbone)
    hookable = without_inplace(network)
    ours = guided_backpropagation(
        network, images, class_targets(torch.zeros(2, len(CLASSES)).double())
    )
    maps = compute_maps(capture(network, images), "guided_grad_cam")
    for label in range(len(CLASSES)):
        expected = GuidedBackprop(hookable).attribute(images, target=label)
        assert_same(ours[label], expected)
        combined = GuidedGradCam(hookable, hookable.body).attribute(
            images, target=label, interpolate_mode="bilinear"
        )
        assert_same(maps[:, label], combined.detach().abs().amax(dim=1))
