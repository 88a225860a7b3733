"""The logits in what a network returns: a tensor, or an object around it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def find_logits(output: Any) -> Any:
    """Return the logits that a network returned, if it is clear which they are.

    They are the output itself, its attribute `logits` (as networks of `transformers` return it),
    the value of its key "logits", or the only element of a tuple or list. Of several elements
    none is taken, because a map of the wrong one would look as convincing.

    Args:
        output: what `forward` of a network returned.

    Returns:
        The logits; the output as it is, if they are not there.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        logits = output.get("logits")
    elif isinstance(output, tuple | list) and len(output) == 1:
        (logits,) = output
    else:
        logits = getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) else output


def describe(output: Any) -> str:
    """Return the shape of a tensor, or what anything else is, for a message."""
    if isinstance(output, Tensor):
        return f"{tuple(output.shape)}"
    name = f"a {type(output).__name__}"
    if isinstance(output, Mapping):
        return f"{name} with the keys {', '.join(map(str, output))}"
    if isinstance(output, tuple | list) and all(isinstance(part, Tensor) for part in output):
        return f"{name} of {', '.join(map(describe, output))}"
    return name
