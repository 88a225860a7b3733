"""Maps and heatmaps are computed on the device that the network is on."""

import numpy as np
import pytest
import torch
from torch import nn

from pokecam.cam import pamr
from pokecam.cam.anywhere import heatmaps
from pokecam.cam.capture import capture
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.cam.store import write_maps
from pokecam.networks.classifier import Classifier, GlobalAverage
from tests.support.fake_gpu import GPU, fake_gpu, needs_gpu, on_gpu

SIZE_PX = 32
CLASSES = ("a", "b", "c", "d")
HEADS = ("linear", "mlp")
# They read the image on the CPU: random numbers with its bytes as seed, means over areas of it,
# superpixels.
READ_IMAGE = ("random", "pamr_cam", "pamr_grad_cam", "occlusion", "fine_occlusion")


def build(head_kind):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
    layers = {
        "linear": {"linear": nn.Linear(8, len(CLASSES))},
        "mlp": {"hidden": nn.Linear(8, 5), "relu": nn.ReLU(), "linear": nn.Linear(5, len(CLASSES))},
    }
    head = nn.Sequential()
    head.pool = GlobalAverage()
    for name, layer in layers[head_kind].items():
        head.add_module(name, layer)
    kind = "gap" if head_kind == "linear" else "native"
    classifier = Classifier(
        body, head, backbone="resnet18", head_kind=kind, classes=CLASSES, image_size=SIZE_PX
    )
    return classifier.eval()


def methods(head):
    """The methods that a head takes."""
    return [name for name in METHODS if head == "linear" or not METHODS[name].linear_head]


EACH = [(head, method) for head in HEADS for method in methods(head)]


@pytest.mark.parametrize(("head", "method"), EACH)
def test_from_images_to_heatmaps_only_the_result_is_copied(head, method, monkeypatch):
    monkeypatch.setattr(pamr, "STEPS", 1)
    if method == "guided_grad_cam" or (head, method) == ("mlp", "ablation_cam"):
        pytest.skip("reads values on the CPU: of the functions, or the layout of a network")
    with fake_gpu():
        network = on_gpu(lambda: build(head))
        x = torch.rand(2, 3, SIZE_PX, SIZE_PX, device=GPU)
    with fake_gpu() as waits:
        maps = compute_maps(capture(network, x), method)
        n_before = len(waits.copies)
        assert maps.device == GPU
    assert "cpu" not in dict(waits.copies[:n_before]) or method in READ_IMAGE
    assert waits.reads == 0
    with fake_gpu() as waits:
        heatmaps(network, x, method)
    n_maps = len(CLASSES) if METHODS[method].per_class else 1
    results = [shape for device, shape in waits.copies if device == "cpu"]
    assert results[-1] == (2, n_maps, SIZE_PX, SIZE_PX)
    assert len(results) == 1 + (method in READ_IMAGE)


@needs_gpu
@pytest.mark.parametrize(("head", "method"), EACH)
def test_heatmaps_are_those_of_the_cpu(head, method):
    network, x = build(head), torch.rand(4, 3, SIZE_PX, SIZE_PX)
    expected = heatmaps(network, x, method)
    actual = heatmaps(network.to("cuda"), x.to("cuda"), method)
    np.testing.assert_allclose(actual, expected, atol=5e-3)


@needs_gpu
def test_stored_maps_are_those_of_the_cpu(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, SIZE_PX, SIZE_PX, 3), np.uint8)
    network, names = build("linear"), methods("linear")
    for device in ("cpu", "cuda"):
        (tmp_path / device).mkdir()
        write_maps(tmp_path / device, network.to(device), pixels, np.arange(5), names)
    for name in names:
        expected, actual = (
            np.load(tmp_path / device / f"{name}.npy") for device in ("cpu", "cuda")
        )
        np.testing.assert_allclose(actual, expected, atol=5e-3 * np.abs(expected).max())
