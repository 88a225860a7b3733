"""The name under which the work of an interrupted stage is kept, so that no other takes it."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

OWN = ("pokecam", "stages")  # our packages


def key(known: object, files: Iterable[Path] = ()) -> str:
    """16 hexadecimal digits that follow from `known`, as `repr` shows it, from the content of the
    files, and from our own code as it is loaded now."""
    digest = hashlib.sha256(repr(known).encode())
    for path in [*files, *_own_code()]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _own_code() -> list[Path]:
    # A stage that is run with `python -m` is loaded as __main__; its own name is in its spec.
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    return sorted(
        {Path(spec.origin) for spec in specs if spec and spec.origin and _is_own(spec.name)}
    )


def _is_own(module: str) -> bool:
    return module.partition(".")[0] in OWN
