"""A clone of the project in which the real `dvc` runs on a tiny setting."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dvc.utils.serialize import modify_yaml

from tests.conftest import PROJECT

TINY = {
    "classes": ["Ant", "Bee", "Cat"],
    "lookalikes": [["Ant", "Bee"]],
    "image_size": 64,
    "backbone": "squeezenet1_1",
    "weights": "none",
    "epochs": 1,
    "judge_measures": ["faithfulness"],
    "judge_pictures": 3,
    "device": "cpu",
}


@dataclass
class Repository:
    """A clone of the project in its own folder, with a tiny `params.yaml`."""

    path: Path

    def run(self, *command: str, ok: bool = True) -> str:
        """Run a command; return its output; fail the test if it does not end as expected."""
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.com",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.com",
        }
        result = subprocess.run(
            command,
            cwd=self.path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
        assert (result.returncode == 0) == ok, f"{command}\n{result.stdout}"
        return result.stdout

    def pokecam(self, *words: str, ok: bool = True) -> str:
        return self.run(sys.executable, "-m", "pokecam", *words, ok=ok)

    def repro(self) -> list[str]:
        """Run `dvc repro`; return the stages whose commands really ran, in order."""
        return ran(self.run("dvc", "repro"))

    def experiment(self, *changes: str) -> list[str]:
        """Run `dvc exp run -S …`; return the stages whose commands really ran, in order."""
        options = [word for change in changes for word in ("-S", change)]
        return ran(self.run("dvc", "exp", "run", *options))

    def set(self, **changes: object) -> None:
        """Change parameters, and write them as `dvc exp run -S` does."""
        with modify_yaml(self.path / "params.yaml") as values:
            values.update(changes)

    def commit(self, message: str = "step") -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def lock(self) -> bytes:
        return (self.path / "dvc.lock").read_bytes()


def ran(output: str) -> list[str]:
    return re.findall(r"^Running stage '(\w+)'", output, flags=re.MULTILINE)


def clone_project(path: Path, pictures: Path) -> Repository:
    """Copy the files that git would commit, as a new repository with tiny parameters."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if name.startswith(("reports/", "docs/", "tests/", "benchmarks/")) or name == "dvc.lock":
            continue
        if (PROJECT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, path / name)
    repository = Repository(path)
    repository.run("git", "init", "-q")
    repository.set(**TINY, source=str(pictures))
    repository.commit("start")
    return repository
