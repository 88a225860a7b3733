"""Checkpoints: the state from which an interrupted training continues.

They are files outside the outputs of the stage, because DVC deletes the outputs before it runs a
stage.
"""

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
    """The file for the state of one training. It may not exist yet.

    Attributes:
        path: its name depends on everything that the state depends on (`checkpoint_of`), so that
            no other training continues from it.
    """

    path: Path

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, whole or not at all. Afterwards it survives a power failure."""
        with whole_file(self.path) as temporary:
            torch.save(dict(state), temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())

    def load(self) -> dict[str, Any] | None:
        """Load the saved state. No code in the file is run.

        Returns:
            The state with its tensors on the CPU; None if there is no file, or, with a warning, if
            the file cannot be read.
        """
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            log.warning(
                "%s cannot be read (%s): training starts from the beginning", self.path, error
            )
            return None

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.path.unlink(missing_ok=True)


def checkpoint_of(
    settings: Sequence[Settings], files: Iterable[Path], team: Team, folder: Path
) -> Checkpoint:
    """Return the checkpoint of a training.

    Its name is a hash of everything that decides the bits of the result: settings, content of the
    files, the code of this project as it is loaded, versions, processes, threads and processor.

    Args:
        settings: all parameters of the training.
        files: all files that the training reads.
        team: the processes that train together.
        folder: where checkpoints are kept.
    """
    processor = (
        torch.cuda.get_device_name(team.device)
        if team.device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    conditions = (
        [group.model_dump() for group in settings],
        (sys.version, torch.__version__, np.__version__),
        (team.count, team.device.type, processor, torch.get_num_threads()),
    )
    return Checkpoint(folder / f"{checkpoint_key.key(conditions, files)}.pt")
