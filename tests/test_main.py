"""The commands beside the pipeline: what they say to bad input and what they pass on."""

import sys
from pathlib import Path

import pytest

from pokecam import __main__, pretraining
from pokecam.errors import InputError


def command(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["pokecam", *words])
    __main__.main()


def test_help_shows_an_example(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="0"):
        command(monkeypatch, "pretrain", "--help")
    assert "python -m pokecam pretrain --backbone resnet18" in capsys.readouterr().out


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


def test_what_is_given_is_what_is_run(monkeypatch):
    given = {}
    monkeypatch.setattr(
        pretraining, "write_weights", lambda *a, **k: given.update(k, backbone=a[0], recipe=a[1])
    )
    command(monkeypatch, "pretrain", "--backbone", "resnet50", "--rounds", "7", "--work", "w")
    assert given["backbone"] == "resnet50"
    assert given["recipe"].rounds == 7
    assert given["recipe"].learning_rate == pretraining.SHIPPED["resnet18"].learning_rate
    assert given["output"] == Path("pretrained/resnet50.safetensors")
    assert given["work"] == Path("w")
