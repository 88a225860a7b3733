"""Other programs whose output the commands read."""

import os
import subprocess
from pathlib import Path

TIMEOUT_S = 60.0


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str] | None:
    """Run a program in a folder.

    Its git does not refresh the index while it looks, so nothing is written.

    Args:
        command: the program and its arguments.
        folder: where it runs.

    Returns:
        What it printed and its exit code, or None if it does not exist or does not end in time.
    """
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None


def output(command: list[str], folder: Path) -> str:
    """Return what a program prints, or "" if it fails or does not exist."""
    process = run(command, folder)
    return "" if process is None or process.returncode else process.stdout


def is_shallow(folder: Path) -> bool:
    """Return whether the git repository of a folder lacks its older commits (`--depth`)."""
    return output(["git", "rev-parse", "--is-shallow-repository"], folder).strip() == "true"
