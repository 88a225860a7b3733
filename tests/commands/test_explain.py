"""`python -m pokecam explain`: new images, their classes and their maps."""

import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from pokecam import __main__
from pokecam.commands import explain
from pokecam.common.errors import InputError
from pokecam.networks.classifier import build_classifier, save_classifier
from tests.conftest import PROJECT

CLASSES = ["Ant", "Bee", "Cat"]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A folder in which the pipeline has run, and some images."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(PROJECT / name, tmp_path / name)
    torch.manual_seed(0)
    model = build_classifier("squeezenet1_1", "gap", CLASSES, 64)
    save_classifier(model, tmp_path / "models" / "classifier.safetensors", weights="none")
    noise = np.random.default_rng(0).integers(0, 256, (2, 80, 40, 3), dtype=np.uint8)
    (tmp_path / "images" / "more").mkdir(parents=True)
    Image.fromarray(noise[0]).save(tmp_path / "images" / "a.png")
    Image.fromarray(noise[1]).save(tmp_path / "images" / "more" / "a.png")
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["pokecam", "explain", *words])
    __main__.main()


def test_a_folder_is_explained_and_what_cannot_be_used_is_named(trained, monkeypatch, capsys):
    command(monkeypatch, "images", "--out", "out")
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["images/a.png", "images/more/a.png"]
    assert all(name in lines[0] for name in CLASSES)
    assert "images/notes.txt: not used" in printed.err
    assert sorted(path.name for path in (trained / "out").iterdir()) == ["a-2.png", "a.png"]
    image = Image.open(trained / "out" / "a.png")
    # Columns: the image and two methods. Rows: the two most probable classes.
    assert image.size == (16 + 3 * (64 + 16), 30 + 2 * (64 + 30 + 16))


def test_classes_and_methods_can_be_chosen(trained, monkeypatch, capsys):
    words = ("--classes", "Bee", "--methods", "grad_cam", "eigen_cam", "edges", "finer_cam")
    command(monkeypatch, "images/a.png", *words)
    image = Image.open(trained / "explained" / "a.png")
    assert image.size == (16 + 5 * (64 + 16), 30 + 1 * (64 + 30 + 16))
    probabilities = capsys.readouterr().out
    assert "%" in probabilities


@pytest.mark.parametrize(("head", "method"), [("gap", "cam"), ("native", "grad_cam")])
def test_the_model_file_is_all_that_is_needed(tmp_path, monkeypatch, head, method):
    torch.manual_seed(0)
    save_classifier(
        build_classifier("squeezenet1_1", head, CLASSES, 64),
        tmp_path / "a.safetensors",
        weights="none",
    )
    Image.new("RGB", (80, 40), "red").save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    methods = []
    original = explain.explain
    monkeypatch.setattr(
        explain, "explain", lambda *a, **k: methods.extend(k["methods"]) or original(*a, **k)
    )
    command(monkeypatch, "a.png", "--model", "a.safetensors")
    assert methods == [method]
    assert Image.open("explained/a.png").height == 30 + 2 * (64 + 30 + 16)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.jpg"], "nowhere.jpg does not exist"),
        (["images/notes.txt"], "none of the files given"),
        (["images", "--classes", "Bea"], "Did you mean Bee"),
        (["images", "--methods", "grad_camm"], "Did you mean grad_cam"),
        (["images", "--methods", "guided_grad_cam", "--model", "none.safetensors"], "not exist"),
    ],
)
def test_bad_input_is_answered_in_one_line(trained, monkeypatch, words, message):
    with pytest.raises(InputError, match=message) as refusal:
        command(monkeypatch, *words)
    assert "\n" not in str(refusal.value)


def test_an_empty_map_is_marked(trained):
    torch.manual_seed(0)
    model = build_classifier("squeezenet1_1", "gap", CLASSES, 64)
    model.head.linear.weight.data.zero_()
    (explanation,) = explain.explain([trained / "images" / "a.png"], model, methods=["cam"])
    assert explanation.empty == set(explanation.heatmaps)
    assert all(not heatmap.any() for heatmap in explanation.heatmaps.values())


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.9999, "> 99 %"), (0.994, "99 %"), (0.5, "50 %"), (0.001, "< 1 %"), (0.006, "1 %")],
)
def test_percent_never_claims_certainty(probability, words):
    assert explain.percent(probability) == words
