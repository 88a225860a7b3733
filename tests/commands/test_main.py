"""The commands beside the pipeline: their help, their errors, and the arguments they pass on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pokecam import __main__
from pokecam.commands.pretrain import pretrain
from pokecam.common.errors import InputError
from tests.conftest import PROJECT


def command(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["pokecam", *words])
    __main__.main()


COMMANDS = (
    *("explain", "compare", "restore", "export", "doctor", "pretrain", "schema", "chimeras"),
    "species_sheets",
)


def test_every_command_is_tested(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="0"):
        command(monkeypatch, "--help")
    assert set(re.findall("(?m)^    ([a-z_]+)(?: |$)", capsys.readouterr().out)) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(monkeypatch, capsys, name):
    with pytest.raises(SystemExit, match="0"):
        command(monkeypatch, name, "--help")
    text = capsys.readouterr().out
    assert re.search(f"examples?:\n  python -m pokecam {name}", text)
    assert "\033" not in text


@pytest.mark.parametrize("words", [["explain", "a.jpg"], ["export", "a.onnx"]])
def test_a_model_that_is_not_there(monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match=r"classifier\.safetensors does not exist here: run `dvc"):
        command(monkeypatch, *words)


def test_without_the_environment_it_says_what_to_do():
    """`-S` runs Python without installed packages, as outside the virtual environment."""
    program = [sys.executable, "-S", "-m", "pokecam", "doctor"]
    run = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert re.fullmatch(
        "error: .+ is not installed in .+: run `make`, then .+activate`\n", run.stderr
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backbone", "resnet81"], "Did you mean resnet18"),
        (["--backbone", "resnet18", "--workers", "0"], "--workers: 0 given"),
        (["--backbone", "resnet18", "--rounds", "0"], "--rounds: 0 given"),
        (["--backbone", "resnet18", "--device", "tpu"], "tpu"),
    ],
)
def test_bad_input_is_answered_in_one_line(monkeypatch, words, message):
    with pytest.raises(InputError, match=message) as caught:
        command(monkeypatch, "pretrain", *words)
    assert "\n" not in str(caught.value)


def test_arguments_are_passed_on(monkeypatch):
    passed = {}
    monkeypatch.setattr(
        pretrain, "write_weights", lambda *a, **k: passed.update(k, backbone=a[0], recipe=a[1])
    )
    command(monkeypatch, "pretrain", "--backbone", "resnet50", "--rounds", "7", "--work", "w")
    assert passed["backbone"] == "resnet50"
    assert passed["recipe"].rounds == 7
    assert passed["recipe"].learning_rate == pretrain.SHIPPED["resnet18"].learning_rate
    assert passed["output"] == Path("pretrained/resnet50.safetensors")
    assert passed["work"] == Path("w")
