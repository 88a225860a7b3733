"""Which device, and what it computes in."""

import pytest
import torch
from torch import nn

from pokecam import device
from pokecam.errors import InputError

DENSE = nn.Conv2d(4, 4, 3)
GROUPED = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4))


def test_auto_takes_what_is_there():
    assert device.pick("auto").type in ("cuda", "mps", "cpu")
    assert device.pick("cpu") == torch.device("cpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"^device: cuda is not available here; available: auto, "):
        device.pick("cuda")


@pytest.mark.parametrize(
    ("unit", "network", "expected"),
    [
        ("avx512_bf16", DENSE, torch.bfloat16),
        ("amx_bf16", DENSE, torch.bfloat16),
        ("avx512_f", DENSE, torch.float32),
        ("avx512_bf16", GROUPED, torch.float32),
    ],
)
def test_training_in_bfloat16_where_it_is_faster(unit, network, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {unit: True}, raising=False)
    with device.mixed_precision(network):
        assert network(torch.zeros(1, 4, 8, 8)).dtype == expected
    assert all(weight.dtype == torch.float32 for weight in network.parameters())


def test_maps_are_exact_but_on_cuda():
    assert device.inference_precision(torch.device("cpu")) == torch.float32
    assert device.inference_precision(torch.device("cuda")) == torch.float16
