"""The choice of the device, and the types it computes in."""

from threading import Barrier, get_ident

import numpy as np
import pytest
import torch
from torch import nn

from pokecam.common.errors import InputError
from pokecam.common.running import usable_cores
from pokecam.networks import device

DENSE = nn.Conv2d(4, 4, 3)
GROUPED = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4))


def test_auto_takes_a_device_of_this_machine():
    assert device.pick_device("auto").type in ("cuda", "mps", "cpu")
    assert device.pick_device("cpu") == torch.device("cpu")


def test_a_device_that_this_machine_lacks_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"^device: cuda is not available on this machine; set"):
        device.pick_device("cuda")


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


@pytest.mark.parametrize("free_bytes", [0, 2**30])
def test_images_are_the_same_whether_they_stay_on_the_device_or_not(free_bytes, monkeypatch):
    monkeypatch.setattr(device, "_free_bytes", lambda _: free_bytes)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    rows = np.array([8, 2, 3, 5])
    images = device.Images.of(pixels, rows, torch.device("cpu"))
    assert (images.resident is not None) == bool(free_bytes)
    assert np.array_equal(images.read(torch.tensor([3, 0])).numpy(), pixels[[5, 8]])
    before = pixels[5, 0, 0, 0]
    pixels[:] = 0
    after = images.read(torch.tensor([3]))[0, 0, 0, 0]
    assert after == (before if free_bytes else 0)


@pytest.fixture
def determinism_restored():
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.usefixtures("determinism_restored")
def test_on_cuda_algorithms_are_deterministic(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    device.pick_device("cuda")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_parallel_tasks_have_one_core_each():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with device.thread_pool(torch.device("cpu")) as pool:
            barrier = Barrier(2, timeout=60)  # neither task continues before both run

            def task(_):
                barrier.wait()
                return torch.get_num_threads()

            assert list(pool.map(task, range(2))) == [1, 1]
        assert torch.get_num_threads() == 2
        with device.thread_pool(torch.device("meta")) as pool:
            cores = Barrier(usable_cores(), timeout=60)  # all cores are free elsewhere
            idents = {*pool.map(lambda _: (cores.wait(), get_ident())[1], range(cores.parties))}
            assert len(idents) == cores.parties
    finally:
        torch.set_num_threads(before)
