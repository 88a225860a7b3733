"""The commands of README, typed one after another as they stand there, in a small clone.

What they say to the program is held to its parsers in `test_docs`; here they are run.
"""

import re
import subprocess

import pytest

from tests.conftest import PROJECT
from tests.project.test_docs import in_blocks
from tests.support.repository import Repository, draw_images

ELSEWHERE = {
    "make": "CI, from a clean clone; tests of its own would install 5 GB",
    "make test": "CI",
    ". .venv/bin/activate": "tests run in an environment that is active",
    "make TORCH_INDEX=https://download.pytorch.org/whl/cpu": "needs that index",
    "python -m pokecam pretrain --backbone mobilenet_v2": "hours; tests/commands/pretrain",
    "dvc exp run -S source=kaggle -S weights=imagenet -S backbone=mobilenet_v2": (
        "needs a network; tests/data/sources has a stand-in for Kaggle"
    ),
}
SMALL = {
    "weights=imagenet": "weights=none",
    "backbone=mobilenet_v2": "backbone=squeezenet1_1",
    "backbone=resnet18": "backbone=shufflenet_v2_x0_5",
}


def commands_of_readme() -> list[str]:
    lines = in_blocks((PROJECT / "README.md").read_text(encoding="utf-8"))
    typed = [re.sub(r" {2,}#.*", "", line[4:]).strip() for line in lines]
    return [one for one in typed if re.match(r"(make|\. |dvc |git |touch |python )", one)]


class Reader:
    """Somebody who types the commands of README, each as it stands there."""

    def __init__(self, repository: Repository, own_images: str, store: str) -> None:
        self.repository = repository
        self.not_typed = [one for one in commands_of_readme() if one not in ELSEWHERE]
        self.here = SMALL | {"/path/to/images": own_images, "/mnt/store/pokecam": store}

    def type(self, beginning: str, repository: Repository | None = None) -> str:
        """Run the next command that begins so."""
        command = next(one for one in self.not_typed if one.startswith(beginning))
        self.not_typed.remove(command)
        for there, here in self.here.items():
            command = command.replace(there, here)
        return (repository or self.repository).run("bash", "-c", command)


@pytest.mark.slow
def test_every_command_does_what_it_says(repository, tmp_path):
    draw_images(tmp_path / "own", {"cat": (90, 60, 30), "lynx": (30, 60, 90)}, 12)
    origin = tmp_path / "origin"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", origin], check=True)
    repository.run("git", "branch", "-M", "main")
    repository.run("git", "remote", "add", "origin", str(origin))
    repository.run("git", "push", "-q", "-u", "origin", "main")
    reader = Reader(repository, str(tmp_path / "own"), str(tmp_path / "store"))

    assert "up to date" in reader.type("dvc repro")
    assert "Running stage 'train'" in reader.type("dvc exp run -S backbone")
    assert "log_loss" in reader.type("dvc metrics diff")
    assert "dvc_plots/index.html" in reader.type("dvc plots diff")
    table = reader.type("dvc exp show")
    assert {"accuracy", "backbone"} <= set(table.split())
    before = repository.run("git", "rev-parse", "HEAD")
    reader.type("git add -A && git commit")
    assert repository.run("git", "rev-parse", "HEAD") != before
    assert repository.repro() == []

    for name, seed in (("exp-a", 5), ("exp-b", 6)):
        repository.run("dvc", "exp", "run", "-n", name, "-S", f"seed={seed}")
    reader.type("python -m pokecam compare main exp-a exp-b")
    assert (repository.path / "compared" / "index.html").is_file()
    assert "seed: 6" in (repository.path / "params.yaml").read_text()
    reader.type("touch params.yaml && git checkout HEAD")
    assert repository.run("git", "status", "--porcelain", "--untracked-files=no") == ""
    assert repository.run("dvc", "status") == "Data and pipelines are up to date.\n"

    assert "Running stage 'report'" in reader.type("dvc exp run -S source=/path")
    model = repository.path / "models" / "classifier.safetensors"
    image = next((tmp_path / "own" / "lynx").iterdir()).read_bytes()
    (repository.path / "images").mkdir()
    for place in ("image.jpg", "images/one.png"):
        (repository.path / place).write_bytes(image)
    assert "→ explained/image" in reader.type("python -m pokecam explain image.jpg")
    reader.here["Pikachu Raichu"] = "cat lynx"
    assert "→ explained/one" in reader.type("python -m pokecam explain images/")
    reader.type("python -m pokecam export")
    assert (repository.path / "model.onnx").stat().st_size > model.stat().st_size / 2
    assert "ok    Python" in reader.type("python -m pokecam doctor")

    repository.run("git", "add", "params.yaml", "dvc.lock", "reports")
    repository.run("git", "commit", "-qm", "cats")
    reader.type("dvc remote add")
    reader.type("git push && dvc push")
    other = Repository(tmp_path / "other")
    subprocess.run(["git", "clone", "-q", origin, other.path], check=True)
    other.run("dvc", "remote", "add", "--local", "-d", "store", str(tmp_path / "store"))
    reader.type("git pull && dvc pull", other)
    assert other.repro() == []
    assert (other.path / "models" / "classifier.safetensors").read_bytes() == model.read_bytes()

    assert reader.not_typed == []


def test_what_is_not_typed_is_in_readme():
    """None of the exceptions is left over from an earlier README."""
    assert set(ELSEWHERE) <= set(commands_of_readme())
