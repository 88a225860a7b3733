"""The device that computes: the only place that knows what devices are called."""

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from pokecam.common.errors import InputError
from pokecam.common.params import Settings, one_of

DEVICES = ("auto", "cpu", "cuda", "mps")

RESIDENT = 0.25  # of a GPU's free memory: images to train on that take no more are kept there

# Numbers of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


class DeviceSettings(Settings):
    """What every stage that runs a network reads of params.yaml."""

    device: Annotated[str, one_of(DEVICES)]


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` is the first present of cuda, mps, cpu.

    Raises `InputError` if this machine has no such device.
    """
    present = [
        device
        for device, available in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
            ("cpu", True),
        )
        if available
    ]
    if name != "auto" and name not in present:
        raise InputError(
            f"device: {name} is not available here; available: auto, {', '.join(present)}"
        )
    device = torch.device(present[0] if name == "auto" else name)
    if device.type == "cpu":
        _keep_freed_memory()
    if device.type == "cuda":
        _compute_alike()
    return device


def image_reader(
    pixels: np.ndarray, rows: np.ndarray, device: torch.device
) -> Callable[[np.ndarray], Tensor]:
    """A function of indices (n,) that gives the images pixels[rows[indices]], (n, S, S, 3) uint8,
    on `device`: from a copy that stays there, if it is a GPU with room for it.

    pixels: (M, S, S, 3) uint8, memory-mapped or not. rows: (N,) int.
    """
    if len(rows) * pixels[:1].nbytes > RESIDENT * _free_bytes(device):
        return lambda indices: torch.from_numpy(pixels[rows[indices]]).to(device)
    resident = torch.from_numpy(pixels[rows]).to(device)
    return lambda indices: resident[torch.from_numpy(indices).to(device)]


def _free_bytes(device: torch.device) -> int:
    """Of the device's own memory; 0 where it shares the computer's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


@contextmanager
def thread_pool(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Threads that compute on one core each: as many as PyTorch would take for one operation, or a
    single one where a GPU computes. For tasks of many small operations, which many cores hardly
    speed up one by one; their results are the same to the bit with any number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads if device.type == "cpu" else 1) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def mixed_precision(network: nn.Module) -> torch.autocast:
    """Context for the forward pass of training `network`: convolutions and matrix products in
    bfloat16 where that is faster, float32 elsewhere.

    Faster are GPUs that have it, and CPUs that multiply in it, where they take half the time; but
    not for networks with grouped convolutions, whose bfloat16 gradient takes many times as long
    on a CPU.
    """
    device = next(network.parameters()).device
    if device.type == "cuda":
        faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Not in every torch that will do.
        able: Mapping = getattr(torch.cpu, "get_capabilities", dict)()
        grouped = any(getattr(module, "groups", 1) > 1 for module in network.modules())
        faster = device.type == "cpu" and not grouped
        faster = faster and any(able.get(f"{unit}_bf16") for unit in ("avx512", "amx"))
    return torch.autocast(device.type, torch.bfloat16, enabled=faster)


def inference_precision(device: torch.device) -> torch.dtype:
    """What bodies compute in for maps: float16, whose 11 significant bits are enough for them, on
    CUDA devices, float32 elsewhere."""
    return torch.float16 if device.type == "cuda" else torch.float32


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch says that a tensor did not fit into memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _compute_alike() -> None:
    """Let CUDA compute the same bits in every run. Operations that cannot (the gradient of VGG's
    and AlexNet's adaptive pooling) say so in a warning of PyTorch's."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def _keep_freed_memory() -> None:
    """Have malloc keep what is freed for the next batch.

    By default glibc gives every block above 32 MB back to the system and gets it again, page by
    page, in the next step: a third of the time of training mobilenet_v2 with 16 images a step.
    Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
