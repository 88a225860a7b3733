"""Weights stored small: int8 with one scale per output channel, or float16.

A safetensors file that `safetensors` alone can read. In it, a tensor `w` of two or more dimensions
is either float16, or int8 beside `w#scale`, float32 of one value per output channel, so that

    w[k] ≈ scale[k] · q[k],   q[k] = round(w[k] / scale[k]),   scale[k] = max |w[k]| / 127.

The error is at most scale[k] / 2. Vectors (biases, BatchNorm) are kept as float32: they are few
and need their range. Integers are kept as they are.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pokecam.common.errors import InputError
from pokecam.networks import safetensors_file

State = dict[str, Tensor]
SCALE = "#scale"
STEPS = 127  # of an int8 on either side of zero


def save_quantised(
    state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str], form: str = "int8"
) -> None:
    """Write `state` in one of `FORMS`, whole or not at all.

    Raises `InputError` if a value is not finite, or too large for float16.
    """
    packed: State = {}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"{name} holds values that are not finite")
        if tensor.is_floating_point() and tensor.ndim > 1:
            packed |= FORMS[form](name, tensor.float())
        else:
            packed[name] = tensor.float() if tensor.is_floating_point() else tensor
    safetensors_file.write_safetensors(path, packed, {**metadata, "form": form})


def load_quantised(path: Path) -> State:
    """Return the state that `save_quantised` wrote, floats as float32, on the CPU.

    Raises `InputError` if the file is missing, damaged, or its scales do not fit its tensors.
    """
    packed, _ = safetensors_file.read_safetensors(path)
    scales = {name.removesuffix(SCALE): packed.pop(name) for name in _scale_names(packed)}
    if strangers := sorted(scales.keys() - packed.keys()):
        raise InputError(f"{path}: there are scales but no tensor for {', '.join(strangers[:4])}")
    return {name: _unpack(name, packed[name], scales.get(name), path) for name in sorted(packed)}


def _scale_names(packed: Mapping[str, Tensor]) -> list[str]:
    return [name for name in packed if name.endswith(SCALE)]


def _int8(name: str, tensor: Tensor) -> State:
    rows = tensor.flatten(1)  # (channels, the rest)
    scale = rows.abs().amax(dim=1) / STEPS
    # a channel of zeros has scale 0; one of the smallest numbers must not divide by zero either
    steps = (rows / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round()
    return {
        name: steps.clamp(-STEPS, STEPS).to(torch.int8).view_as(tensor),
        name + SCALE: scale,
    }


def _float16(name: str, tensor: Tensor) -> State:
    if tensor.abs().max() > torch.finfo(torch.float16).max:
        raise InputError(f"{name} holds values that are too large for float16")
    return {name: tensor.half()}


FORMS: dict[str, Callable[[str, Tensor], State]] = {"int8": _int8, "float16": _float16}


def _unpack(name: str, tensor: Tensor, scale: Tensor | None, path: Path) -> Tensor:
    if tensor.dtype == torch.int8:
        if scale is None:
            raise InputError(f"{path}: {name} is int8 but has no {name}{SCALE}")
        if tensor.ndim < 2 or scale.shape != tensor.shape[:1] or scale.dtype != torch.float32:
            raise InputError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, {name}{SCALE} "
                f"{tuple(scale.shape)} and type {scale.dtype}; one float32 for each channel, "
                "the first axis, expected"
            )
        if not (scale.isfinite().all() and (scale >= 0).all()):
            raise InputError(f"{path}: {name}{SCALE} must hold finite numbers ≥ 0")
        return tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
    if scale is not None:
        raise InputError(f"{path}: {name} has scales but is {tensor.dtype}, not int8")
    return tensor.float() if tensor.is_floating_point() else tensor
