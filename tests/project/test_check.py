"""Bad parameters with the real `dvc`: one line of ours, before anything that takes time has run."""

import os
import re

import pytest

from tests.support.repository import (
    COLOURS,
    Repository,
    copy_repository,
    draw_images,
    executed_stages,
)


@pytest.fixture(scope="module")
def clone(finished, tmp_path_factory):
    """A copy of the finished repository, whose params.yaml every test writes anew."""
    return copy_repository(finished, tmp_path_factory.mktemp("check") / "repository")


def refusal(clone: Repository, committed: bytes, changes: dict) -> tuple[str, list[str]]:
    """Return the line of the error, and the stages whose commands ran."""
    (clone.path / "params.yaml").write_bytes(committed)
    clone.set(**changes)
    output = clone.run("dvc", "repro", ok=False)
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    return line, executed_stages(output)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"judge_measures": [1]}, ["judge_measures[0]: 1 was given, a valid string is needed"]),
        ({"epochs": "ten"}, ["epochs: 'ten' was given", "integer or null is needed"]),
        ({"val_fraction": 0.9}, ["val_fraction 0.9 and test_fraction 0.2", "less than 1"]),
        ({"source": "/nowhere"}, ["source /nowhere does not exist", "datasets/drawn.yaml"]),
        ({"source": "kagle"}, ["Did you mean datasets/kaggle.yaml?"]),
        ({"epocs": 5}, ["epocs is not a parameter. Did you mean epochs?"]),
        ({"cam_methods": ["gradcam"]}, ["Did you mean grad_cam?"]),
        (
            {"backbone": "resnet50", "weights": "drawn"},
            [
                "no drawn weights for resnet50, but for alexnet, mobilenet_v3_small, resnet18",
                "dvc exp run -S backbone=resnet50 -S weights=imagenet",
                "-S weights=none",
            ],
        ),
        ({"weights": "drwan"}, ["weights: drwan", "Did you mean drawn?"]),
        ({"head": "native"}, ["cam needs", "squeezenet1_1 with head: native", "set head to gap"]),
    ],
    ids=lambda value: ",".join(map(str, value)),
)
def test_a_bad_parameter_is_refused_before_anything_runs(finished, clone, changes, expected):
    committed = (finished.path / "params.yaml").read_bytes()
    line, stages = refusal(clone, committed, changes)
    assert [text for text in expected if text not in line] == [], line
    assert stages == ["check"]


def test_a_file_that_dvc_cannot_read_is_named_before_dvc_fails(finished, clone, tmp_path):
    """A link to nothing, and a pipe, which DVC would wait for without an end: in a class folder or
    in a folder that is no class."""
    committed = (finished.path / "params.yaml").read_bytes()
    images = tmp_path / "images"
    draw_images(images, COLOURS, 3)
    (images / "Ant" / "b.png").symlink_to("nowhere.png")
    line, stages = refusal(clone, committed, {"source": str(images)})
    assert stages == ["check"]
    assert "Ant/b.png is a link to nowhere.png, which does not exist" in line
    (command,) = re.findall("`(.*?)` lists", line)
    assert clone.run("bash", "-c", command).splitlines() == [str(images / "Ant" / "b.png")]
    (images / "Ant" / "b.png").unlink()
    (images / ".hidden").mkdir()
    os.mkfifo(images / ".hidden" / "pipe")
    line, stages = refusal(clone, committed, {"source": str(images)})
    assert stages == ["check"]
    assert ".hidden/pipe is no ordinary file" in line


def test_an_experiment_with_a_link_to_nothing_ends_in_the_same_line(repository, tmp_path):
    images = tmp_path / "images"
    draw_images(images, COLOURS, 3)
    (images / "Ant" / "b.png").symlink_to("nowhere.png")
    output = repository.run("dvc", "exp", "run", "-S", f"source={images}", ok=False)
    assert "is a link to nowhere.png" in output
    assert executed_stages(output) == ["check"]
    assert "Traceback" not in output


def test_a_misspelt_look_alike_is_refused_before_the_training(finished, clone):
    committed = (finished.path / "params.yaml").read_bytes()
    line, stages = refusal(clone, committed, {"lookalikes": [["Ant", "Bea"]]})
    assert "lookalikes: the source has no Bea. Did you mean Bee?" in line
    assert stages == ["check", "split"]


def test_an_experiment_with_a_bad_parameter_ends_in_the_same_line(repository):
    output = repository.run("dvc", "exp", "run", "-S", "source=/nowhere", ok=False)
    assert [line for line in output.splitlines() if "source /nowhere does not exist" in line]
    assert executed_stages(output) == ["check"]


def test_the_default_classes_on_another_source_end_with_the_command_that_works(repository):
    pokemon = {"classes": ["Bulbasaur", "Ivysaur"], "lookalikes": [["Bulbasaur", "Ivysaur"]]}
    repository.set(**pokemon)
    output = repository.run("dvc", "repro", ok=False)
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "the source has no Bulbasaur" in line
    command = line[line.index("dvc exp run") :]
    assert "-S classes=all" in command
    assert "-S 'lookalikes=[]'" in command
    repository.run("git", "checkout", "-q", "params.yaml")  # the command needs nothing else
    assert executed_stages(repository.run("bash", "-c", command))[-1] == "report"


def test_nothing_is_judged_and_the_report_says_so(repository):
    assert repository.experiment("judge_measures=[]") == ["check", "judge", "report"]
    page = (repository.path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "Nothing was judged" in page
    output = repository.pokecam("compare", "HEAD", "workspace")
    assert output.splitlines()[-1] == "compared/index.html"
