"""The ONNX file in onnxruntime against PyTorch: the same logits and maps for any batch size."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from pokecam import __main__
from pokecam.cam.capture import capture
from pokecam.cam.maps import compute_maps
from pokecam.commands import export
from pokecam.common.errors import InputError
from pokecam.networks import classifier
from pokecam.networks.settings import HEADS
from tests.support.networks import CHOSEN, size_px

CLASSES = ["Ant", "Bee", "Mr. Mime"]
ALWAYS = ("mobilenet_v3_small", "resnet18")  # all others in the long form


def pixels(n, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def network(backbone, head):
    """Build a network with random weights, whose BatchNorm has the statistics of its activations.

    With the initial statistics values vanish from layer to layer, and any two empty maps agree.
    """
    torch.manual_seed(0)
    side = size_px(backbone)
    model = classifier.build_classifier(backbone, head, CLASSES, side)
    x = classifier.prepare(torch.from_numpy(pixels(4, side)))
    with torch.no_grad():
        for _ in range(20):
            model(x)
        torch.nn.init.normal_(model.last_layer.weight, std=0.1)  # that of a vision transformer is 0
    return model.eval()


def run(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def assert_same(path, model):
    """Compare to 1e-4 of the largest value, or to 1e-4 if that value is below 1."""
    for n in (1, 3):
        images = pixels(n, model.image_size, seed=n)
        captured = capture(model, classifier.prepare(torch.from_numpy(images)))
        expected = {"logits": captured.logits.detach()}
        if model.linear is not None:
            expected["cams"] = compute_maps(captured, "cam")
        outputs = run(path, images)
        assert outputs.keys() == expected.keys()
        for name, values in outputs.items():
            reference = expected[name].numpy()
            largest = np.abs(reference).max()
            assert largest > 0.01
            np.testing.assert_allclose(values, reference, atol=1e-4 * max(1, largest))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "backbone",
    [
        *ALWAYS,
        *(pytest.param(name, marks=pytest.mark.slow) for name in CHOSEN if name not in ALWAYS),
    ],
)
def test_onnxruntime_agrees_with_pytorch(tmp_path, backbone, head):
    model = network(backbone, head)
    assert export.export(model, tmp_path / "model.onnx") == (model.linear is not None)
    assert_same(tmp_path / "model.onnx", model)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    model = network("squeezenet1_1", "gap")
    export.export(model, folder / "model.onnx")
    return model, folder / "model.onnx"


def test_the_maps_average_to_the_logits(exported):
    model, path = exported
    outputs = run(path, pixels(2, 64))
    mean = outputs["cams"].mean(axis=(2, 3)) + model.linear.bias.detach().numpy()
    np.testing.assert_allclose(mean, outputs["logits"], atol=1e-5 * np.abs(mean).max())


def test_the_file_describes_its_input(exported):
    _, path = exported
    session = onnxruntime.InferenceSession(path)
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == (
        *("images", "tensor(uint8)"),
        ["N", 64, 64, 3],
    )
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == CLASSES
    prepared = json.loads(metadata["preprocessing"])
    assert (prepared["size_px"], prepared["fit"]) == (64, "letterbox")
    assert (prepared["mean"], prepared["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert metadata["cam_layer"] == "features.12"
    assert "normalised in this file" in metadata["input"]


def test_the_same_network_gives_the_same_bytes_and_tells_nothing_of_the_machine(exported):
    model, path = exported
    again = path.with_name("again.onnx")
    export.export(model, again)
    assert again.read_bytes() == path.read_bytes()
    assert b"site-packages" not in path.read_bytes()
    assert b".py" not in path.read_bytes()


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["pokecam", "export", *words])
    __main__.main()


@pytest.mark.parametrize(
    ("head", "summary"),
    [
        ("gap", "logits and cams"),
        ("native", "no cams: squeezenet1_1 with head: native is more than"),
    ],
)
def test_the_command_says_what_is_in_the_file(tmp_path, monkeypatch, capsys, head, summary):
    monkeypatch.chdir(tmp_path)
    classifier.save_classifier(
        network("squeezenet1_1", head), tmp_path / "m.safetensors", weights="none"
    )
    command(monkeypatch, "model.onnx", "--model", "m.safetensors")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("model.onnx: ")
    assert summary in line
    assert (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("words", "installed", "message"),
    [
        (["model.safetensors"], True, "a name that ends in .onnx expected"),
        (["model.onnx", "--model", "nowhere.safetensors"], True, "nowhere.safetensors does not"),
        (["model.onnx"], False, "not installed: onnx, onnxscript, .*`pip install onnx onnxscript`"),
    ],
)
def test_bad_input_is_answered_in_one_line(tmp_path, monkeypatch, words, installed, message):
    monkeypatch.chdir(tmp_path)
    if not installed:
        monkeypatch.setattr(export, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=message) as refusal:
        command(monkeypatch, *words)
    assert "\n" not in str(refusal.value)


def test_a_network_too_large_for_one_file_is_refused(tmp_path, monkeypatch, exported):
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="export a smaller backbone"):
        export.export(exported[0], tmp_path / "model.onnx")
