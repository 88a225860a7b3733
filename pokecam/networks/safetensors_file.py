"""Safetensors files whose bytes depend only on their content."""

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pokecam.common.errors import InputError
from pokecam.common.files import whole_file


def write_safetensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        path: the file, which is replaced if it exists.
        tensors: name → tensor.
        metadata: text by key.
    """
    with whole_file(path) as temporary:
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, dict(metadata))
        _sort_header(temporary)


def read_safetensors(path: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file.

    Returns:
        name → tensor on the CPU, and the metadata.

    Raises:
        InputError: the file is missing, or is not a whole safetensors file.
    """
    with _open(path) as file:
        # get_tensor returns a view of the memory-mapped file. A clone does not need the file.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def read_metadata(path: Path | str) -> dict[str, str]:
    """Read the metadata of a safetensors file, without its tensors.

    Raises:
        InputError: as `read_safetensors`.
    """
    with _open(path) as file:
        return file.metadata() or {}


@contextmanager
def _open(path: Path | str) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file, or not a whole one: {error}") from None


def _sort_header(path: Path) -> None:
    """Sort the JSON header of a file.

    safetensors writes the metadata in the order of a hash table, which differs between processes.
    """
    with path.open("r+b") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        encoded = text.encode().ljust(size)  # the format pads with spaces
        if len(encoded) != size:
            raise ValueError(
                f"the header of {path} has {len(encoded)} bytes after sorting, {size} expected"
            )
        file.seek(8)
        file.write(encoded)
