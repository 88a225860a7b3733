"""The device that computes: the only place that knows what devices are called."""

import ctypes
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import nn

from pokecam.errors import InputError
from pokecam.params import Settings, one_of

DEVICES = ("auto", "cpu", "cuda", "mps")

# Numbers of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


class DeviceSettings(Settings):
    """What every stage that runs a network reads of params.yaml."""

    device: Annotated[str, one_of(DEVICES)]


def pick(name: str) -> torch.device:
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
    return device


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


def out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch says that a tensor did not fit into memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _keep_freed_memory() -> None:
    """Have malloc keep what is freed for the next batch.

    By default glibc gives every block above 32 MB back to the system and gets it again, page by
    page, in the next step: a third of the time of training mobilenet_v2 with 16 pictures a step.
    Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
