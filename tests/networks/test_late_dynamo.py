"""Networks are built and trained without importing the compiler of PyTorch, which works all the
same."""

import subprocess
import sys

import pytest
import torch

from pokecam.networks import backbones
from pokecam.networks.dry_run import building_without_content

BUILD = """
import sys
import torch
from pokecam.networks import backbones, pretrained
from pokecam.networks.classifier import build_classifier, load_classifier, save_classifier
"""

CASES = {
    "a network is built, run, saved and loaded": """
import tempfile
from pathlib import Path
layout = pretrained.Layout.of_backbone("mobilenet_v3_small")
classifier = build_classifier("mobilenet_v3_small", "gap", ["a", "b"], 64, 32).eval()
with tempfile.TemporaryDirectory() as folder, torch.no_grad():
    path = Path(folder, "classifier.safetensors")
    save_classifier(classifier, path, weights="none")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(load_classifier(path)(x), classifier(x))
assert not {"torch._dynamo", "sympy", "torch._inductor"} & set(sys.modules)
""",
    "a network is trained, and then a function is compiled": """
from tests.training.tiny import train_tiny
train_tiny(epochs=1)
assert not {"torch._dynamo", "sympy", "torch._inductor"} & set(sys.modules)
weight = torch.nn.Parameter(torch.ones(3))
optimiser = torch.optim.AdamW([weight], lr=0.1)

@torch.compile(backend="eager")
def step():
    optimiser.zero_grad()
    (weight**2).sum().backward()
    optimiser.step()

assert not hasattr(torch.optim.Optimizer.zero_grad.__wrapped__, "__dynamo_disable")
step()
assert torch.optim.Optimizer.zero_grad.__wrapped__.__dynamo_disable
assert "torch._dynamo" in sys.modules and (weight < 1).all()
""",
    "the operator that asks for the compiler": """
import torchvision
boxes = torch.tensor([[0, 0.0, 0, 4, 4]])
image = torch.rand(1, 3, 8, 8)
expected = torch.ops.torchvision.roi_align(image, boxes, 1.0, 2, 2, -1, False)
assert torch.equal(torchvision.ops.roi_align(image, boxes, 2), expected)
assert torchvision.ops.roi_align.__globals__["is_compile_supported"]("cpu") in (True, False)
import torch._dynamo.utils
assert torch._dynamo.utils.is_compile_supported("cpu") in (True, False)
""",
    "another module of the package is needed": """
from importlib.util import find_spec
from pokecam.networks.late_dynamo import late_dynamo
with late_dynamo():
    assert find_spec("torch._dynamo") is not None
    import torch._dynamo.config
    from torch._dynamo.utils import is_compile_supported
assert sys.modules["torch._dynamo"].reset and torch._dynamo.config
""",
    "a function is compiled": """
add = torch.compile(lambda x: x + 1, backend="eager")
assert torch.equal(add(torch.ones(3)), torch.full((3,), 2.0))
""",
    "the compiler comes first": """
import torch._dynamo
from pokecam.networks.late_dynamo import late_dynamo
before = sys.modules["torch._dynamo"]
with late_dynamo():
    assert sys.modules["torch._dynamo"] is before
""",
    "another name of the package is needed": """
from pokecam.networks.late_dynamo import late_dynamo
with late_dynamo():
    from torch._dynamo.utils import counters
    from torch._dynamo import reset
import torch._dynamo.utils
assert counters is torch._dynamo.utils.counters and reset is torch._dynamo.reset
""",
}


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "vgg11", "vit_b_32", "convnext_tiny"])
def test_networks_without_content_have_the_same_tensors(backbone):
    with torch.device("meta"):
        plain = backbones.split(backbone, n_classes=2, pooled=True)
    with building_without_content():
        actual = backbones.split(backbone, n_classes=2, pooled=True)
    for half, expected in zip(actual, plain, strict=True):
        state = half.state_dict()
        assert all(tensor.device.type == "meta" for tensor in state.values())
        shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}
        state = expected.state_dict()
        assert shapes == {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}


@pytest.mark.parametrize("case", CASES)
def test_in_a_new_process(case):
    command = [sys.executable, "-c", BUILD + CASES[case]]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
