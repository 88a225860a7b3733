"""The commands of README and of the first guides, typed one after another as they stand there, in a
small clone.

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
    "make docs": "tests/project/test_docs.py",
    ". .venv/bin/activate": "tests run in an environment that is active",
    "make TORCH_INDEX=https://download.pytorch.org/whl/cpu": "needs that index",
    "python -m pokecam pretrain --backbone mobilenet_v2": "hours; tests/commands/pretrain",
    "dvc exp run -S source=datasets/kaggle.yaml -S weights=imagenet -S backbone=mobilenet_v2": (
        "needs a network; tests/data/sources has a stand-in for Kaggle"
    ),
}
SMALL = {
    "weights=imagenet": "weights=none",
    "backbone=mobilenet_v2": "backbone=squeezenet1_1",
    "backbone=resnet18": "backbone=shufflenet_v2_x0_5",
}


def commands_of(page: str, heading: str = "") -> list[str]:
    """The commands in the blocks of a page, or of its section with this heading."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    if heading:
        text = re.search(rf"^## {heading}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[0]
    lines = in_blocks(text)
    commands = [re.sub(r" {2,}#.*", "", line[4:]).strip() for line in lines]
    return [line for line in commands if re.match(r"(make|\. |cp |dvc |git |python )", line)]


# Each once, though several pages name it.
COMMANDS = list(
    dict.fromkeys(
        [
            *commands_of("README.md"),
            *commands_of("docs/install.md"),
            *commands_of("docs/your-own-images.md"),
            *commands_of("docs/report.md"),
            *commands_of("docs/new-images.md"),
            *commands_of("docs/shipped-weights.md"),
            *commands_of("docs/experiments.md", "Look at them")[:1],  # the rest wants its queue
            *commands_of("docs/sharing.md", "A remote")[:2],  # a folder; tests/project/test_sharing
            *commands_of("docs/sharing.md", "Results in git")[:2],
        ]
    )
)


class Reader:
    """Somebody who types the commands, each as it stands there."""

    def __init__(self, repository: Repository, images: str, store: str) -> None:
        self.repository = repository
        self.not_typed = [command for command in COMMANDS if command not in ELSEWHERE]
        self.replacements = SMALL | {"/path/to/images": images, "/mnt/store/pokecam": store}

    def type(self, beginning: str, repository: Repository | None = None) -> str:
        """Run the next command that begins so."""
        command = next(command for command in self.not_typed if command.startswith(beginning))
        self.not_typed.remove(command)
        for original, replacement in self.replacements.items():
            command = command.replace(original, replacement)
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

    reader.type("git diff --quiet HEAD -- . || git commit")  # nothing differs
    assert "up to date" in reader.type("dvc repro")
    assert "Running stage 'train'" in reader.type("dvc exp run -S backbone")
    assert "log_loss" in reader.type("dvc metrics diff")
    assert "dvc_plots/index.html" in reader.type("dvc plots diff")
    table = reader.type("dvc exp show")
    # Only what has changed; on so few images the accuracy may be the same.
    assert {"Experiment", "main", "backbone"} <= set(table.split())
    before = repository.run("git", "rev-parse", "HEAD")
    reader.type("git add . && git commit")
    assert repository.run("git", "rev-parse", "HEAD") != before
    assert repository.repro() == []

    for name, seed in (("exp-a", 5), ("exp-b", 6)):
        repository.run("dvc", "exp", "run", "-n", name, "-S", f"seed={seed}")
    reader.type("python -m pokecam compare main exp-a exp-b")
    assert (repository.path / "compared" / "index.html").is_file()
    assert "seed: 6" in (repository.path / "params.yaml").read_text()
    repository.run("dvc", "exp", "run", "-S", "cam_methods=[cam,layer_cam]")
    reader.type("python -m pokecam compare main workspace:layer_cam")
    assert "Running stage 'train'" in reader.type("dvc exp run -S epochs=4")
    told = reader.type("python -m pokecam restore")
    assert repository.run("git", "status", "--porcelain") == ""
    assert repository.run("dvc", "status") == "Data and pipelines are up to date.\n"
    reader.replacements["NAME"] = re.search("`dvc exp apply (.+?)`", told)[1]
    reader.type("dvc exp apply NAME")
    assert "layer_cam" in (repository.path / "params.yaml").read_text()
    repository.pokecam("restore")

    assert "Running stage 'report'" in reader.type("dvc exp run -S source=/path")
    reader.type("cp data/split.csv my-split.csv")
    moved = (repository.path / "my-split.csv").read_text().replace(",train", ",test", 1)
    (repository.path / "my-split.csv").write_text(moved)
    assert "Running stage 'train'" in reader.type("dvc exp run -S split_file")
    assert (repository.path / "data" / "split.csv").read_text() == moved
    model = repository.path / "models" / "classifier.safetensors"
    image = next((tmp_path / "own" / "lynx").iterdir()).read_bytes()
    (repository.path / "images").mkdir()
    for name in ("image.jpg", "images/one.png"):
        (repository.path / name).write_bytes(image)
    assert "→ explained/image" in reader.type("python -m pokecam explain image.jpg")
    reader.replacements["Pikachu Raichu"] = "cat lynx"
    assert "→ explained/one" in reader.type("python -m pokecam explain images/")
    reader.type("python -m pokecam export")
    assert (repository.path / "model.onnx").stat().st_size > model.stat().st_size / 2
    assert "ok    Python" in reader.type("python -m pokecam doctor")

    repository.run("git", "add", "params.yaml", "my-split.csv", "dvc.lock", "reports")
    repository.run("git", "commit", "-qm", "cats")
    reader.type("dvc remote add")
    reader.type("dvc remote modify")
    reader.type("git push && dvc push")
    other = Repository(tmp_path / "other")
    subprocess.run(["git", "clone", "-q", origin, other.path], check=True)
    other.run("dvc", "remote", "add", "--local", "-d", "store", str(tmp_path / "store"))
    reader.type("git pull && dvc pull", other)
    assert other.repro() == []
    assert (other.path / "models" / "classifier.safetensors").read_bytes() == model.read_bytes()

    assert reader.not_typed == []


def test_the_exceptions_are_commands_of_these_pages():
    """None of the exceptions is left over from an earlier page."""
    assert set(ELSEWHERE) <= set(COMMANDS)
