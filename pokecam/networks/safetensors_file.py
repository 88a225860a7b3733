"""Safetensors files with the same bytes every time."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pokecam.common.errors import InputError
from pokecam.common.files import whole_file


def write_safetensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write named tensors and text metadata, whole or not at all."""
    with whole_file(path) as temporary:
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, dict(metadata))
        _sort_header(temporary)


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file, on the CPU, and its metadata.

    Raises `InputError` if the file is missing or is no whole safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            # get_tensor reads from the memory map; clone lets go of the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no safetensors file, or not a whole one: {error}") from None


def _sort_header(path: Path) -> None:
    """Sort the file's JSON header: safetensors writes metadata in the random order of a hash
    table, another one in every process."""
    with path.open("r+b") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        encoded = text.encode().ljust(size)  # the format pads with blanks
        if len(encoded) != size:
            raise ValueError(f"header of {path} became {len(encoded)} bytes, {size} expected")
        file.seek(8)
        file.write(encoded)
