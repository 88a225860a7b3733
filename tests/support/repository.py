"""A clone of the project in which the real `dvc` runs on a tiny setting.

It is built and run once. Each test works on a copy of its own, cache included, so the tests do not
depend on one another or on their order. Only git's objects and the shipped weights are shared.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dvc.utils.serialize import modify_yaml
from PIL import Image

PROJECT = Path(__file__).resolve().parents[2]
COLOURS = {"Ant": (200, 40, 40), "Bee": (40, 200, 40), "Cat": (40, 40, 200), "Dog": (200, 200, 40)}
ALL = [
    *("check", "download", "select", "split", "weights"),
    *("train", "evaluate", "cam", "judge", "report"),
]
TINY = {
    "classes": ["Ant", "Bee", "Cat"],
    "lookalikes": [["Ant", "Bee"]],
    "image_size": 64,
    "backbone": "squeezenet1_1",
    "weights": "none",
    "epochs": 1,
    "judge_measures": ["faithfulness"],
    "judge_images": 3,
    "device": "cpu",
}


@dataclass
class Repository:
    """A clone of the project in its own folder, with a tiny `params.yaml`."""

    path: Path

    def run(self, *command: str, ok: bool = True, timeout_s: float = 600) -> str:
        """Run a command and return its output.

        The test fails if the command fails, or with `ok=False` if it succeeds.
        """
        process = self.start(*command)
        try:
            output = process.communicate(timeout=timeout_s)[0]
        finally:
            process.kill()
        assert (process.returncode == 0) == ok, f"{command}\n{output}"
        return output

    def start(self, *command: str) -> subprocess.Popen:
        """Start a command in a new session."""
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.com",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.com",
        }
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def pokecam(self, *words: str, ok: bool = True) -> str:
        return self.run(sys.executable, "-m", "pokecam", *words, ok=ok)

    def repro(self) -> list[str]:
        """Run `dvc repro` and return the stages whose commands ran, in order."""
        return executed_stages(self.run("dvc", "repro"))

    def experiment(self, *changes: str) -> list[str]:
        """Run `dvc exp run -S …` and return the stages whose commands ran, in order."""
        options = [word for change in changes for word in ("-S", change)]
        return executed_stages(self.run("dvc", "exp", "run", *options))

    def set(self, **changes: object) -> None:
        """Change parameters, and write them as `dvc exp run -S` does."""
        with modify_yaml(self.path / "params.yaml") as values:
            values.update(changes)

    def commit(self, message: str = "step") -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def lock(self) -> bytes:
        return (self.path / "dvc.lock").read_bytes()


def executed_stages(output: str) -> list[str]:
    return re.findall(r"^Running stage '(\w+)'", output, flags=re.MULTILINE)


def clone_project(path: Path, images: Path) -> Repository:
    """Copy the files that git would commit, as a new repository with tiny parameters."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listing.split("\0")):
        if name.startswith(("reports/", "docs/", "tests/", "benchmarks/")) or name == "dvc.lock":
            continue
        if (PROJECT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, path / name)
    repository = Repository(path)
    repository.run("git", "init", "-q")
    repository.set(**TINY, source=str(images))
    repository.commit("start")
    return repository


def copy_repository(repository: Repository, path: Path) -> Repository:
    """Copy a repository, cache included.

    git's objects and the shipped weights are hard links where the file system has them: they would
    be 100 MB of every copy, and no test may write into them.
    """

    def copy_file(source: str, target: str) -> None:
        is_weights = "/pretrained/" in source and source.endswith(".safetensors")
        if is_weights or "/.git/objects/" in source:
            try:
                os.link(source, target)
            except OSError:  # no hard links here
                shutil.copy2(source, target)
        else:
            shutil.copy2(source, target)

    shutil.copytree(repository.path, path, symlinks=True, copy_function=copy_file)
    return Repository(path)


def draw_images(folder: Path, names: dict[str, tuple[int, int, int]], count: int) -> None:
    """Draw noise, in another colour for each class, so that no two images are near-duplicates."""
    for name, colour in names.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            rng = np.random.default_rng([i, *colour])
            coarse = rng.integers(-40, 40, (8, 8, 3)) + np.array(colour)
            pixels = np.kron(coarse, np.ones((8, 8, 1))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02d}.png")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Repository:
    """A repository in which the whole pipeline has run once and been committed."""
    base = tmp_path_factory.mktemp("pipeline")
    draw_images(base / "images", COLOURS, 10)
    repository = clone_project(base / "repository", base / "images")
    assert repository.repro() == ALL
    repository.commit("first run")
    return repository


@pytest.fixture
def repository(finished, tmp_path) -> Repository:
    """A copy of the finished repository, its cache included, which a test may change.

    The images are not copied, because their absolute path is in dvc.lock.
    """
    return copy_repository(finished, tmp_path / "repository")
