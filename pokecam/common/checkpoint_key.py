"""The key that a checkpoint is stored under.

Only the same work has the same key, so a stage never continues from the checkpoint of other work.
"""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("pokecam", "stages")  # the packages of this project


def key(inputs: object, files: Iterable[Path] = ()) -> str:
    """Return the key of a piece of work.

    Args:
        inputs: settings and other values that decide the result; their `repr` is hashed.
        files: files whose content decides the result.

    Returns:
        16 hexadecimal digits. They depend on `inputs`, on the content of the files, and on all
        modules of this project that are loaded now.
    """
    digest = hashlib.sha256(repr(inputs).encode())
    for path in [*files, *_loaded_code()]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _loaded_code() -> list[Path]:
    """Return the source files of the loaded modules of this project, sorted."""
    # `python -m` loads a stage under the name __main__; the spec has the true name.
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    return sorted(
        {Path(spec.origin) for spec in specs if spec and spec.origin and _is_own(spec.name)}
    )


def _is_own(module_name: str) -> bool:
    return module_name.partition(".")[0] in PACKAGES
