"""One clone, and all that two new users did in it, from the default run to their own images.

Each step is a command of README or of the guides. After each, git, DVC and the figures are as the
documentation says. It takes about 15 minutes::

    python -m pytest -s -m slow tests/project/test_walk.py
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pokecam.data.sources import drawn
from tests.support.repository import ALL, PROJECT, Repository, executed_stages

SPECIES = ("Electrode", "Jigglypuff", "Psyduck", "Voltorb")
LOOKALIKES = ("Electrode", "Voltorb")
IMAGES_PER_CLASS = 20
TINY = "Meowth"
N_TINY = 3
REPORT_ONLY = ("params.yaml", "dvc.lock", "reports/")


class Walk:
    """A clone, and what the steps before have left in it."""

    def __init__(self, folder: Path) -> None:
        self.repository = Repository(folder / "pokecam")
        subprocess.run(["git", "clone", "-q", PROJECT, self.repository.path], check=True)
        self.images = folder / "images"

    def type(self, command: str, ok: bool = True) -> str:
        """Type one line in the clone."""
        return self.repository.run("bash", "-c", command, ok=ok, timeout_s=3600)

    def metrics(self) -> dict[str, float]:
        return json.loads((self.repository.path / "reports" / "metrics.json").read_text())

    def parameters(self) -> dict:
        return yaml.safe_load((self.repository.path / "params.yaml").read_text())

    def classifier(self) -> bytes:
        return (self.repository.path / "models" / "classifier.safetensors").read_bytes()

    def check_up_to_date(self) -> None:
        """DVC has nothing to run, and git sees parameters, lock and report only."""
        assert self.type("dvc status") == "Data and pipelines are up to date.\n"
        changes = self.type("git status --porcelain --untracked-files=all").splitlines()
        assert [line for line in changes if not line[3:].startswith(REPORT_ONLY)] == []

    def check_clean(self) -> None:
        """Everything is as in the last commit."""
        assert self.type("git status --porcelain --untracked-files=all") == ""
        assert self.type("dvc status") == "Data and pipelines are up to date.\n"


def write_images(folder: Path, species: tuple[str, ...], count: int, draw_seed: int) -> None:
    """Draw images of some species of the catalogue, as a folder of class folders without boxes."""
    members = drawn.members(
        PROJECT / "datasets" / "drawn.yaml", images_per_class=count, draw_seed=draw_seed
    )
    for name, content in members:
        if name.startswith("images/") and name.split("/")[1] in species:
            path = folder.joinpath(*name.split("/")[1:])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def default_run(walk: Walk) -> None:
    # The report is committed. It runs only where the figures differ, as on another processor.
    assert set(executed_stages(walk.type("dvc repro"))) | {"report"} == set(ALL)
    walk.check_up_to_date()
    assert walk.metrics()["accuracy"] >= 0.95
    walk.type("git add -A && git commit -q --allow-empty -m 'My first run'")
    walk.check_clean()


def classes_of_another_source(walk: Walk) -> None:
    """The classes of the default are not in the folder: the message ends with what works."""
    write_images(walk.images, SPECIES, IMAGES_PER_CLASS, draw_seed=7)
    message = walk.type(f"dvc exp run -S source={walk.images}", ok=False)
    line = next(line for line in message.splitlines() if line.startswith("error: "))
    assert f"-S source={walk.images} -S classes=all" in line
    walk.type("python -m pokecam restore")
    walk.check_clean()


def own_folder(walk: Walk) -> None:
    groups = f"[[{','.join(LOOKALIKES)}]]"
    walk.type(f"dvc exp run -n own -S source={walk.images} -S classes=all -S 'lookalikes={groups}'")
    walk.check_up_to_date()
    metrics = walk.metrics()
    assert metrics["n_train"] + metrics["n_val"] + metrics["n_test"] == (
        len(SPECIES) * IMAGES_PER_CLASS
    )
    assert metrics["accuracy"] >= 0.75
    walk.type("git add -A && git commit -q -m 'Own images'")
    walk.check_clean()


def second_backbone(walk: Walk) -> None:
    stages = executed_stages(walk.type("dvc exp run -n second -S backbone=resnet18"))
    assert not {"download", "select", "split"} & set(stages)
    walk.check_up_to_date()
    assert "backbone" in walk.type("dvc params diff")
    walk.type("python -m pokecam restore")
    walk.check_clean()
    walk.type("dvc exp apply second")
    assert walk.parameters()["backbone"] == "resnet18"
    walk.check_up_to_date()
    walk.type("python -m pokecam restore")
    walk.check_clean()


def lookalikes_renamed(walk: Walk) -> None:
    message = walk.type("dvc exp run -S 'lookalikes=[[Electrode,Psiduck]]'", ok=False)
    assert "Did you mean Psyduck?" in message
    assert "Running stage 'train'" not in message
    before, started = walk.classifier(), time.monotonic()
    output = walk.type("dvc exp run -S 'lookalikes=[[Psyduck,Jigglypuff],[Electrode,Voltorb]]'")
    print(f"look-alikes changed: {time.monotonic() - started:.0f} s")
    assert not {"download", "select", "train", "evaluate"} & set(executed_stages(output))
    assert walk.classifier() == before
    walk.check_up_to_date()
    assert "Psyduck" in (walk.repository.path / "reports" / "index.html").read_text()
    walk.type("git add -A && git commit -q -m 'More look-alikes'")


def split_edited(walk: Walk) -> None:
    before = walk.classifier()
    walk.type("cp data/split.csv my-split.csv")
    path = walk.repository.path / "my-split.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    train = next(row for row in rows if row["subset"] == "train")
    test = next(row for row in rows if row["subset"] == "test" and row["label"] == train["label"])
    train["subset"], test["subset"] = "test", "train"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    stages = executed_stages(walk.type("dvc exp run -S split_file=my-split.csv"))
    assert {"split", "train", "evaluate", "cam", "judge"} <= set(stages)
    split = (walk.repository.path / "data" / "split.csv").read_text()
    assert f"{train['file']},{train['label']},test" in split
    assert f"{test['file']},{test['label']},train" in split
    assert walk.classifier() != before
    walk.type("git add -A && git commit -q -m 'My own split'")
    walk.check_clean()


def one_box_added(walk: Walk) -> None:
    """One box in the whole file, of a test image."""
    split = (walk.repository.path / "data" / "split.csv").read_text()
    file = re.search(r"^(.*),(.*),test$", split, re.MULTILINE)[1]
    label = file.split("/")[0]
    boxes = walk.images / "boxes.csv"
    head = "image,label,xmin,ymin,xmax,ymax\n"
    boxes.write_text(f"{head}{file},{label},10,10,5000,100\n")
    assert "5000" in walk.type("dvc repro", ok=False)
    boxes.write_text(f"{head}{file},{label},10,10,100,100\n")
    walk.type("dvc repro")
    walk.check_up_to_date()
    assert 0 <= walk.metrics()["map_energy"] <= 1
    walk.type("git add -A && git commit -q -m 'A box'")


def one_tiny_class(walk: Walk) -> None:
    before = walk.metrics()["accuracy"]
    walk.type("dvc exp run -S split_file=datasets/split.csv")
    write_images(walk.images, (TINY,), N_TINY, draw_seed=8)
    output = walk.type("dvc repro")
    assert re.search(rf"{TINY}.*too few|too few.*{TINY}", output)
    walk.check_up_to_date()
    assert walk.metrics()["accuracy"] >= before - 0.2  # n is 16 to 20
    with (walk.repository.path / "reports" / "predictions.csv").open(newline="") as file:
        predictions = [row["predicted"] for row in csv.DictReader(file)]
    assert predictions.count(TINY) <= 3
    assert TINY in (walk.repository.path / "reports" / "index.html").read_text()
    walk.type("python -m pokecam restore")


def experiment_killed(walk: Walk) -> None:
    """The folder of images has changed since the commit, the clone has not."""
    shutil.rmtree(walk.images / TINY)
    parameters = walk.parameters()
    process = walk.repository.start("dvc", "exp", "run", "-S", "seed=7")
    for line in process.stdout:
        if "Running stage 'train'" in line:
            break
    time.sleep(3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    walk.type("python -m pokecam restore")
    assert walk.parameters() == parameters
    walk.check_clean()
    assert executed_stages(walk.type("dvc repro")) == []


def going_back(walk: Walk) -> None:
    """An older commit, and an experiment of an older commit."""
    first = walk.type("git log --format=%H --grep 'My first run'").strip()
    walk.type(f"git checkout -q {first} && dvc checkout -q")
    walk.check_clean()
    assert walk.parameters()["source"] == "datasets/drawn.yaml"
    walk.type("git checkout -q - && dvc checkout -q")
    walk.check_clean()


def compare(walk: Walk) -> None:
    walk.type("dvc exp run -n more -S label_smoothing=0.2")
    branch = walk.type("git branch --show-current").strip()
    assert "compared/index.html" in walk.type(f"python -m pokecam compare {branch} more")
    walk.type("python -m pokecam restore")
    walk.check_clean()


def explain_and_export(walk: Walk) -> None:
    image = next((walk.images / "Psyduck").iterdir())
    shutil.copy(image, walk.repository.path / "image.jpg")
    output = walk.type("python -m pokecam explain image.jpg --classes Psyduck Voltorb")
    assert "Psyduck" in output
    assert (walk.repository.path / "explained" / "image.png").is_file()
    (walk.repository.path / "image.jpg").unlink()
    if shutil.which("python") and "onnx" in walk.type("python -m pip list 2>&1 || true"):
        walk.type("python -m pokecam export model.onnx")
    walk.check_clean()
    walk.type("git add -A")
    assert walk.type("git status --porcelain") == ""


STEPS: tuple[Callable[[Walk], None], ...] = (
    default_run,
    classes_of_another_source,
    own_folder,
    second_backbone,
    lookalikes_renamed,
    split_edited,
    one_box_added,
    one_tiny_class,
    experiment_killed,
    going_back,
    compare,
    explain_and_export,
)


@pytest.mark.slow
def test_a_new_user_gets_through(tmp_path):
    walk = Walk(tmp_path)
    for step in STEPS:
        started = time.monotonic()
        step(walk)
        print(f"{step.__name__}: {time.monotonic() - started:.0f} s")
