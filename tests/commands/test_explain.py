"""`python -m pokecam explain`: new images, their classes and their maps."""

import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pokecam
from pokecam import __main__
from pokecam.cam.capture import capture
from pokecam.cam.display import display_difference
from pokecam.cam.maps import compute_maps
from pokecam.commands import explain
from pokecam.common.errors import InputError
from pokecam.networks.class_distances import ClassDistances
from pokecam.networks.classifier import build_classifier, prepare, save_classifier
from pokecam.report.overlay import difference
from tests.conftest import PROJECT
from tests.data.packing.fuzz import png
from tests.support.images import encoded

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


def test_leftovers_in_a_folder_are_not_explained(trained):
    for name in ("@eaDir/a.png", ".cache/a.png", "more/.DS_Store"):
        (trained / "images" / name).parent.mkdir(exist_ok=True)
        shutil.copy(trained / "images" / "a.png", trained / "images" / name)
    files = explain.list_files([trained / "images"])
    names = [file.relative_to(trained / "images").as_posix() for file in files]
    assert names == ["a.png", "more/a.png", "notes.txt"]
    thumbnail = trained / "images" / "@eaDir" / "a.png"
    assert explain.list_files([thumbnail]) == [thumbnail]


def test_pillow_warns_of_nothing_that_explain_checks(trained, monkeypatch):
    """A damaged EXIF block, and a PNG that says that it is huge."""
    broken = encoded(Image.new("RGB", (64, 48)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f x")
    (trained / "images" / "b.jpg").write_bytes(broken)
    (trained / "images" / "c.png").write_bytes(png(10_001, 10_001, b""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # here it is the user who opens it
        image = Image.open(trained / "images" / "b.jpg")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        command(monkeypatch, "images")
        pokecam.explain([image], trained / "models" / "classifier.safetensors")
    assert [str(entry.message) for entry in caught] == []


def test_names_of_drawings_differ_and_exist_on_every_system():
    files = ["a/con.png", "b/CON.jpg", "a.png", "A.png", "x/a?.png", "x/a:.png", "b/nul.tar.png"]
    names = explain.output_names([Path(file) for file in files])
    assert names == [
        *("con_.png", "CON_-2.png", "a.png", "A-2.png", "a_.png", "a_-2.png", "nul_.tar.png"),
    ]


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


def network(distances=None):
    torch.manual_seed(0)
    model = build_classifier("squeezenet1_1", "gap", CLASSES, 64)
    model.distances = distances
    return model


def test_two_classes_are_compared_in_a_row_of_their_own(trained, monkeypatch):
    """The third row has the very pixels of the difference; a Finer-CAM has none."""
    words = ("--classes", "Bee", "Ant", "--methods", "cam", "finer_cam", "edges")
    command(monkeypatch, "images/a.png", *words)
    image = np.asarray(Image.open(trained / "explained" / "a.png"))
    assert image.shape == (30 + 3 * (64 + 30 + 16), 16 + 4 * (64 + 16), 3)
    (explanation,) = explain.explain(
        [trained / "images" / "a.png"], network(), classes=["Bee", "Ant"], methods=["cam"]
    )
    maps = compute_maps(
        capture(network().eval(), prepare(torch.from_numpy(explanation.pixels)[None])), "cam"
    )[0].numpy()
    values = display_difference(maps[1], maps[0], 64)
    np.testing.assert_allclose(explanation.differences["Bee", "Ant", "cam"], values, atol=1e-4)
    top = 30 + 2 * (64 + 30 + 16) + 30
    panel = image[top : top + 64, 96 : 96 + 64].astype(int)
    expected = difference(explanation.pixels, explanation.differences["Bee", "Ant", "cam"])
    assert np.abs(panel - expected).max() <= 1
    assert (image[top : top + 64, 96 + 80 :] == 255).all()


@pytest.mark.parametrize(
    ("classes", "pairs"),
    [
        ([], []),
        (["Bee"], []),
        (["Bee", "Bee"], []),
        (["Cat", "Ant"], [("Cat", "Ant")]),
        (["Cat", "Ant", "Bee"], [("Cat", "Ant"), ("Cat", "Bee")]),
    ],
)
def test_the_first_class_is_compared_with_each_other(trained, classes, pairs):
    (explanation,) = explain.explain(
        [trained / "images" / "a.png"],
        network(),
        classes=classes,
        methods=["cam", "counterfactual"],
    )
    assert list(explanation.differences) == [(*pair, "cam") for pair in pairs]
    assert explain.draw(explanation).height == 30 + (64 + 30 + 16) * (
        len(set(classes)) + len(pairs) or 2
    )


def distances_around(image, *, n_nearer):
    """Distances of ten validation images, of which `n_nearer` are nearer than an image."""
    model = network().eval()
    (explanation,) = explain.explain([image], model, methods=["cam"])
    with torch.no_grad():
        inputs = model.last_inputs(prepare(torch.from_numpy(explanation.pixels)[None]))
    means = torch.rand(3, 512)
    own = ClassDistances(means, torch.zeros(1)).of(inputs)
    nearer, farther = own * 0.9, own * 1.1
    return ClassDistances(means, torch.cat([nearer] * n_nearer + [farther] * (10 - n_nearer)))


@pytest.mark.parametrize(
    ("n_nearer", "text", "is_unlike"),
    [
        (0, "farther from the classes than 0 of 10 validation images", False),
        (9, "farther from the classes than 9 of 10 validation images (90 %)", False),
        (10, "farther from the classes than all 10 validation images: may be none of them", True),
    ],
)
def test_how_unlike_the_classes_an_image_is(
    trained, monkeypatch, capsys, n_nearer, text, is_unlike
):
    image = trained / "images" / "a.png"
    model = network(distances_around(image, n_nearer=n_nearer))
    (explanation,) = explain.explain([image], model, methods=["cam"])
    assert (explanation.n_nearer, explanation.n_validation) == (n_nearer, 10)
    assert explanation.is_unlike == is_unlike
    save_classifier(model, trained / "models" / "classifier.safetensors", weights="none")
    command(monkeypatch, "images/a.png")
    printed = capsys.readouterr()
    assert f"; {text} → " in printed.out
    assert "only the 3 classes of this network can be named" in printed.err
    assert "older version" not in printed.err


def test_an_old_model_file_says_that_it_has_no_distances(trained, monkeypatch, capsys):
    command(monkeypatch, "images/a.png")
    printed = capsys.readouterr()
    assert "farther" not in printed.out
    assert "only the 3 classes of this network can be named" in printed.err
    assert "the model file is of an older version" in printed.err


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.9999, "> 99 %"), (0.994, "99 %"), (0.5, "50 %"), (0.001, "< 1 %"), (0.006, "1 %")],
)
def test_percent_never_claims_certainty(probability, words):
    assert explain.percent(probability) == words
