"""Where a training that was interrupted goes on: a file outside DVC's outputs, which DVC deletes
before a stage runs."""

import hashlib
import logging
import os
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pokecam.files import whole_file
from pokecam.params import Settings
from pokecam.processes import Team

OWN = ("pokecam", "stages")  # our packages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the state of one training, or does not exist yet.

    path: its name should say what the state depends on (`of`), so that no other training takes it
        for its own.
    """

    path: Path

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state on disk, in one step; it survives a power cut from then on."""
        with whole_file(self.path) as temporary:
            torch.save(dict(state), temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())

    def load(self) -> dict[str, Any] | None:
        """The state last saved, its tensors on the CPU; None, with a warning, if the file cannot
        be read, and without if there is none. Runs no code that is in the file."""
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            log.warning("%s cannot be read (%s): training starts over", self.path, error)
            return None

    def remove(self) -> None:
        """Forget the state."""
        self.path.unlink(missing_ok=True)


def of(settings: Sequence[Settings], files: Iterable[Path], team: Team, folder: Path) -> Checkpoint:
    """The checkpoint in `folder` of a training with these settings and files, by this code.

    Its name follows from everything that decides the bits of the result: the settings, the content
    of the files, our code as it is loaded, versions, processes, threads and processor.
    """
    digest = hashlib.sha256()
    processor = (
        torch.cuda.get_device_name(team.device)
        if team.device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    known = (
        [one.model_dump() for one in settings],
        (sys.version, torch.__version__, np.__version__),
        (team.count, team.device.type, processor, torch.get_num_threads()),
    )
    digest.update(repr(known).encode())
    for path in [*files, *_own_code()]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return Checkpoint(folder / f"{digest.hexdigest()[:16]}.pt")


def _own_code() -> list[Path]:
    # A stage that is run with `python -m` is loaded as __main__; its own name is in its spec.
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    return sorted(
        {Path(spec.origin) for spec in specs if spec and spec.origin and _is_own(spec.name)}
    )


def _is_own(module: str) -> bool:
    return module.partition(".")[0] in OWN
