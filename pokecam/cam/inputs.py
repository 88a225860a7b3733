"""What the functions of the Python API are given: images, networks, layers. Each is checked before
anything is computed."""

from typing import Any

import torch
from torch import Tensor, nn

from pokecam.common.errors import InputError, did_you_mean

# torch.compile puts a network into a module that has it under this name.
_COMPILED = "_orig_mod"


def check_images(x: Any) -> None:
    """Check the input of a network.

    Raises:
        InputError: it is not (N, channels, H, W) floats, all finite, with at least one image.
    """
    if not isinstance(x, Tensor):
        kind = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
        raise InputError(
            f"x: a {kind} given; give a tensor (N, 3, H, W), as `torch.from_numpy` makes it of an "
            "array"
        )
    if x.ndim != 4 or 0 in x.shape or not x.is_floating_point():
        raise InputError(
            f"x: {tuple(x.shape)} of {_name(x.dtype)} given; give floats (N, 3, H, W), with at "
            "least one image"
        )
    is_finite = x.isfinite().flatten(1).all(dim=1)
    if not is_finite.all():
        first = int((~is_finite).nonzero()[0])
        raise InputError(
            f"x: {int((~is_finite).sum())} of {len(x)} images hold NaN or infinity, the first is "
            f"x[{first}]; leave them out"
        )


def unwrap(network: Any) -> nn.Module:
    """Return the network that `torch.compile` or a wrapper for several devices holds.

    Raises:
        InputError: it is no module, or one whose layers cannot be intercepted.
    """
    while True:
        if hasattr(network, _COMPILED):
            network = network._orig_mod
        elif isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        else:
            break
    if not isinstance(network, nn.Module):
        raise InputError(
            f"network: a {type(network).__name__} given; give a `torch.nn.Module` that computes "
            "logits (N, C) of images"
        )
    if isinstance(network, torch.jit.ScriptModule):
        raise InputError(
            "network: was scripted or traced, so its layers cannot be intercepted; give the module "
            "that it was made of"
        )
    for name, module in network.named_modules():
        kind = type(module)
        if ".quantized." in kind.__module__ and not kind.__name__.endswith("Functional"):
            raise InputError(
                f"network: its layer {name or kind.__name__} is quantised, so it has no "
                "gradients; give the network as it was before"
            )
    return network


def layer_name(network: nn.Module, layer: Any) -> str:
    """Return the name of a layer in `network.named_modules()`.

    Args:
        network: the network.
        layer: its name, with or without what `torch.compile` adds to it; the module itself; or a
            list of one of them, as pytorch-grad-cam takes it.

    Raises:
        InputError: it is no layer of the network.
    """
    if isinstance(layer, list | tuple) and len(layer) == 1:
        (layer,) = layer
    if not isinstance(layer, str | nn.Module):
        raise InputError(
            f"layer: a {type(layer).__name__} given; give one layer, a name in `named_modules()` "
            "or the module itself"
        )
    if isinstance(layer, nn.Module):
        module = getattr(layer, _COMPILED, layer)
        description, hint = f"a {type(module).__name__} that", ""
    else:
        # A module may have several names.
        module_of = {
            plain_name(name): candidate
            for name, candidate in network.named_modules(remove_duplicate=False)
            if not hasattr(candidate, _COMPILED)
        }
        module = module_of.get(plain_name(layer))
        description, hint = layer, did_you_mean(layer, module_of)
    for name, candidate in network.named_modules():
        if name and candidate is module:
            return name
    raise InputError(
        f"layer: {description} is no layer of the network.{hint} Give a name in `named_modules()` "
        "or the module itself"
    )


def plain_name(layer: str) -> str:
    """Return the name of a layer without what `torch.compile` adds to it."""
    return ".".join(part for part in layer.split(".") if part != _COMPILED)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
