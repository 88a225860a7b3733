"""Quantised weights in small files: int8 with one scale for each output channel, or float16.

The file is a safetensors file, which `safetensors` can read without PokeCAM. A tensor `w` of two or
more dimensions is stored as float16, or as int8 `w` and float32 `w#scale`, one scale for each
output channel k::

    w[k] ≈ scale[k] · q[k],   q[k] = round(w[k] / scale[k]),   scale[k] = max |w[k]| / 127

The error is at most scale[k] / 2. Vectors (biases, BatchNorm) are stored as float32, because they
are few and need the range. Integers are stored unchanged.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pokecam.common.errors import InputError
from pokecam.networks import safetensors_file

State = dict[str, Tensor]
SCALE = "#scale"
STEPS = 127  # the largest absolute value of q


def save_quantised(
    state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str], form: str = "int8"
) -> None:
    """Write tensors in a small form, whole or not at all.

    Args:
        state: name → tensor.
        path: the file.
        metadata: text for the metadata of the file, where `form` is added.
        form: an entry of `FORMS`.

    Raises:
        InputError: a value is not finite, or is too large for float16.
    """
    stored: State = {}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"{name} holds values that are not finite")
        if tensor.is_floating_point() and tensor.ndim > 1:
            stored |= FORMS[form](name, tensor.float())
        else:
            stored[name] = tensor.float() if tensor.is_floating_point() else tensor
    safetensors_file.write_safetensors(path, stored, {**metadata, "form": form})


def load_quantised(path: Path) -> State:
    """Read the file that `save_quantised` wrote.

    Returns:
        name → tensor on the CPU, float32 where it is not an integer.

    Raises:
        InputError: the file is missing or damaged, or its scales do not fit its tensors.
    """
    stored, _ = safetensors_file.read_safetensors(path)
    scale_names = [name for name in stored if name.endswith(SCALE)]
    scales = {name.removesuffix(SCALE): stored.pop(name) for name in scale_names}
    if missing := sorted(scales.keys() - stored.keys()):
        raise InputError(f"{path}: there are scales but no tensor for {', '.join(missing[:4])}")
    return {
        name: _dequantise(name, stored[name], scales.get(name), path) for name in sorted(stored)
    }


def _to_int8(name: str, tensor: Tensor) -> State:
    rows = tensor.flatten(1)  # (channels, values of a channel)
    scale = rows.abs().amax(dim=1) / STEPS
    # The scale of a channel can be 0, or so small that dividing by it overflows.
    steps = (rows / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round()
    return {
        name: steps.clamp(-STEPS, STEPS).to(torch.int8).view_as(tensor),
        name + SCALE: scale,
    }


def _to_float16(name: str, tensor: Tensor) -> State:
    if tensor.abs().max() > torch.finfo(torch.float16).max:
        raise InputError(f"{name} holds values that are too large for float16")
    return {name: tensor.half()}


FORMS: dict[str, Callable[[str, Tensor], State]] = {"int8": _to_int8, "float16": _to_float16}


def _dequantise(name: str, tensor: Tensor, scale: Tensor | None, path: Path) -> Tensor:
    if tensor.dtype == torch.int8:
        if scale is None:
            raise InputError(f"{path}: {name} is int8 but has no {name}{SCALE}")
        if tensor.ndim < 2 or scale.shape != tensor.shape[:1] or scale.dtype != torch.float32:
            raise InputError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, but {name}{SCALE} has shape "
                f"{tuple(scale.shape)} and type {scale.dtype}; expected is one float32 for each "
                "channel, the first axis"
            )
        if not (scale.isfinite().all() and (scale >= 0).all()):
            raise InputError(f"{path}: {name}{SCALE} must hold finite numbers ≥ 0")
        return tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
    if scale is not None:
        raise InputError(f"{path}: {name} has scales but is {tensor.dtype}, not int8")
    return tensor.float() if tensor.is_floating_point() else tensor
