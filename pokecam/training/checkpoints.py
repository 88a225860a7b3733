"""Where a training that was interrupted goes on: a file outside DVC's outputs, which DVC deletes
before a stage runs."""

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

from pokecam.common import checkpoint_key
from pokecam.common.files import whole_file
from pokecam.common.params import Settings
from pokecam.networks.distributed import Team

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the state of one training, or does not exist yet.

    path: its name should say what the state depends on (`checkpoint_of`), so that no other training
        takes it for its own.
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


def checkpoint_of(
    settings: Sequence[Settings], files: Iterable[Path], team: Team, folder: Path
) -> Checkpoint:
    """The checkpoint in `folder` of a training with these settings and files, by this code.

    Its name follows from everything that decides the bits of the result: the settings, the content
    of the files, our code as it is loaded, versions, processes, threads and processor.
    """
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
    return Checkpoint(folder / f"{checkpoint_key.key(known, files)}.pt")
