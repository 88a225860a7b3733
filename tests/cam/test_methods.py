"""The table of methods, and the settings in params.yaml."""

import subprocess
import sys

import pytest
import torch
import yaml

from pokecam.cam.fitting import check_methods
from pokecam.cam.methods import METHODS, CamSettings
from pokecam.common.errors import InputError
from pokecam.common.params import read_params
from pokecam.networks.classifier import build_classifier


def test_every_method_has_its_function():
    for name, method in METHODS.items():
        assert callable(method.function), name


@pytest.mark.parametrize(
    ("backbone", "head", "fits"),
    [
        ("mobilenet_v3_small", "gap", True),
        ("resnet18", "native", True),  # average pooling and one linear layer
        ("mobilenet_v2", "native", True),
        ("mobilenet_v3_small", "native", False),
        ("squeezenet1_1", "native", False),
        ("alexnet", "native", False),
    ],
)
def test_plain_cam_needs_a_linear_head(backbone, head, fits):
    classifier = build_classifier(backbone, head, ["a", "b"], 96)
    check_methods(["grad_cam"], classifier, parameter="methods")
    if fits:
        check_methods(["cam", "grad_cam"], classifier, parameter="methods")
        return
    with pytest.raises(InputError) as refusal:
        check_methods(["grad_cam", "cam"], classifier, parameter="methods")
    assert backbone in str(refusal.value)
    assert str(refusal.value).startswith("methods: cam needs nothing but average pooling and one")


@pytest.mark.parametrize(
    ("backbone", "activations"),
    [
        ("mobilenet_v3_small", "a product of activations, hardsigmoid, hardswish"),
        ("efficientnet_b0", "a product of activations, sigmoid, silu"),
        ("regnet_y_400mf", "a product of activations, sigmoid"),
        ("swin_t", ".*gelu.*softmax"),
        ("convnext_tiny", "gelu"),
    ],
)
def test_guided_backpropagation_needs_relu(backbone, activations):
    classifier = build_classifier(backbone, "gap", ["a", "b"], 224)
    with pytest.raises(InputError, match=f"{backbone} has {activations}"):
        check_methods(["guided_grad_cam"], classifier, parameter="methods")


@pytest.mark.parametrize(
    "backbone", ["resnet18", "vgg11", "mobilenet_v2", "densenet121", "googlenet"]
)
def test_guided_backpropagation_recognises_relu_in_any_form(backbone):
    with torch.device("meta"):
        classifier = build_classifier(backbone, "gap", ["a", "b"], 224)
    modes = [module.training for module in classifier.modules()]
    check_methods(["guided_grad_cam"], classifier, parameter="methods")
    assert [module.training for module in classifier.modules()] == modes


def read_methods(tmp_path, methods):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"cam_methods": methods, "cam_layer": None}))
    return read_params(CamSettings, path, tmp_path / "dvc.yaml").cam_methods


def test_settings_keep_the_order_given(tmp_path):
    assert read_methods(tmp_path, ["grad_cam", "cam"]) == ["grad_cam", "cam"]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["grad_camm"], "Did you mean grad_cam"),
        ([], "at least 1"),
        (["cam", "cam"], "lists cam 2 times"),
        ("cam", "list"),
    ],
)
def test_settings_refuse(tmp_path, methods, message):
    with pytest.raises(InputError, match=message):
        read_methods(tmp_path, methods)


def test_maps_are_displayed_without_torch():
    code = (
        "import sys, pokecam.cam.display, pokecam.cam.stored_maps; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
