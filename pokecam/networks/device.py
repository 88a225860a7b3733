"""Devices: which one computes, and what is special about each. Only this module names them."""

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pokecam.common.errors import InputError, first_line
from pokecam.common.running import usable_cores

# Training images stay on the GPU if they take at most this fraction of its free memory.
RESIDENT = 0.25

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def pick_device(name: str) -> torch.device:
    """Return a device, and set up PyTorch for it.

    On CUDA the deterministic algorithms are switched on. On a CPU memory that is freed is kept
    for reuse.

    Args:
        name: an entry of `settings.DEVICES`. `auto` is the first of cuda, mps and cpu that this
            machine has.

    Raises:
        InputError: this machine has no such device.
    """
    available = [
        device
        for device, is_available in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
            ("cpu", True),
        )
        if is_available
    ]
    if name != "auto" and name not in available:
        raise InputError(
            f"device: {name} is not available on this machine; set it to auto or "
            f"{' or '.join(available)}"
        )
    device = torch.device(available[0] if name == "auto" else name)
    if device.type == "cpu":
        _keep_freed_memory()
    if device.type == "cuda":
        _use_deterministic_algorithms()
    return device


@dataclass(frozen=True)
class Images:
    """Images that are read by index.

    Attributes:
        pixels: (M, S, S, 3) uint8, memory-mapped or not.
        rows: (N,) int, the rows of `pixels` that are read.
        device: where they are needed.
        resident: (N, S, S, 3) uint8, all of them on the device, or None.
    """

    pixels: np.ndarray
    rows: np.ndarray
    device: torch.device
    resident: Tensor | None

    @classmethod
    def of(cls, pixels: np.ndarray, rows: np.ndarray, device: torch.device) -> "Images":
        """Prepare images. If the device is a GPU with enough free memory (`RESIDENT`), all are
        copied to it once."""
        fits = len(rows) * pixels[:1].nbytes <= RESIDENT * _free_bytes(device)
        resident = torch.from_numpy(pixels[rows]).to(device) if fits else None
        return cls(pixels, rows, device, resident)

    def read(self, indices: Tensor) -> Tensor:
        """Return the images pixels[rows[indices]], (n, S, S, 3) uint8 on the device.

        Args:
            indices: (n,) int, on any device. On a GPU, nothing waits if all is there.
        """
        if self.resident is not None:
            return self.resident[indices.to(self.device, non_blocking=True)]
        return torch.from_numpy(self.pixels[self.rows[indices.cpu().numpy()]]).to(self.device)


class Graphs:
    """Records functions on a GPU, and replays them. Their memory is shared: none may need what
    another one has left, but in tensors that existed before."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._memory = torch.cuda.graph_pool_handle()

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Run what is inside on another stream of the GPU, as is needed before a capture."""
        present = torch.cuda.current_stream()
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            yield
        present.wait_stream(self._stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record the operations of a function, without doing them.

        Args:
            function: it must do the same operations in every call, on tensors that stay where they
                are, and take nothing from the host. It has run before (`warming_up`).

        Returns:
            A function that does the operations, all of them started at once: a CUDA graph.

        Raises:
            RuntimeError: an operation cannot be recorded, or memory does not hold another copy of
                what is computed on the way. The stream and the random numbers are as before.
        """
        graph, present = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._memory, stream=self._stream):
                function()
        except RuntimeError as error:
            # An invalid capture ends in another error, which hides the first one and leaves the
            # stream and the generator in the state of a capture.
            torch.cuda.set_stream(present)
            generator = torch.cuda.default_generators[torch.cuda.current_device()]
            generator.graphsafe_set_state(torch.Generator("cuda").graphsafe_get_state())
            raise RuntimeError(first_line(error.__context__ or error)) from None
        return graph.replay


def _free_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU; 0 for a device that has no memory of its own."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


@contextmanager
def thread_pool(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Run tasks in parallel threads, each of which computes on one core.

    This suits tasks of many small operations, which several cores hardly speed up one by one.
    The results are the same to the bit for any number of threads.

    Args:
        device: where the network is. On a CPU there are as many threads as PyTorch uses for one
            operation. Elsewhere the network leaves all cores free.

    Yields:
        The threads.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads if device.type == "cpu" else usable_cores())
    torch.set_num_threads(1)
    try:
        with pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def mixed_precision(network: nn.Module) -> torch.autocast:
    """Return the context for the forward pass of training.

    In it, convolutions and matrix products run in bfloat16 where that is faster, otherwise in
    float32. bfloat16 is faster on GPUs that support it, and on CPUs with instructions for it, which
    take half the time. It is much slower on a CPU for the gradient of grouped convolutions.

    Args:
        network: the network to train, on its device.
    """
    device = next(network.parameters()).device
    if device.type == "cuda":
        is_faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Not every version of torch that works has this function.
        capabilities: Mapping = getattr(torch.cpu, "get_capabilities", dict)()
        has_bf16 = any(capabilities.get(f"{unit}_bf16") for unit in ("avx512", "amx"))
        is_grouped = any(getattr(module, "groups", 1) > 1 for module in network.modules())
        is_faster = device.type == "cpu" and has_bf16 and not is_grouped
    return torch.autocast(device.type, torch.bfloat16, enabled=is_faster)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error of PyTorch means that a tensor did not fit into memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _use_deterministic_algorithms() -> None:
    """Let CUDA compute the same bits in every run.

    PyTorch warns of operations that cannot: the gradient of adaptive pooling in VGG and AlexNet.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # No operation here reads memory that it has not written, so filling it only costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _keep_freed_memory() -> None:
    """Let malloc keep freed memory for the next batch, if the C library is glibc.

    By default glibc returns every block above 32 MB to the system, and gets it back page by page
    in the next step. That is a third of the time of training mobilenet_v2 with 16 images a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
