"""`import pokecam`: the public functions, loaded when they are used, and `pokecam.explain`."""

import inspect
import pydoc
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pokecam
from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.common.errors import InputError
from pokecam.networks.classifier import build_classifier, prepare, save_classifier
from pokecam.notebook import Explanations
from tests.conftest import PROJECT

CLASSES = ["Ant", "Bee", "Cat"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a trained model and images, as the pipeline leaves it; no params.yaml."""
    torch.manual_seed(0)
    model = build_classifier("squeezenet1_1", "gap", CLASSES, 64)
    save_classifier(model, tmp_path / "models/classifier.safetensors", weights="none")
    noise = np.random.default_rng(0).integers(0, 256, (2, 80, 40, 3), dtype=np.uint8)
    (tmp_path / "images" / "more").mkdir(parents=True)
    Image.fromarray(noise[0]).save(tmp_path / "images" / "a.png")
    Image.fromarray(noise[1]).save(tmp_path / "images" / "more" / "b.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(code: str, **options) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_itself_loads_nothing_of_the_project():
    """Every stage imports it; torch takes seconds, and the API would be code that no stage
    declares."""
    code = "import pokecam, sys; print(*[m for m in sys.modules if m.split('.')[0] in {names}])"
    names = {"pokecam", "torch", "numpy", "PIL"}
    assert python(code.format(names=names), cwd=PROJECT).split() == ["pokecam"]


def test_every_public_name_is_there_and_explains_itself():
    assert set(pokecam.__all__) <= set(dir(pokecam))
    text = pydoc.plain(pydoc.render_doc(pokecam))
    for name in pokecam.__all__:
        value = getattr(pokecam, name)
        if callable(value):
            assert inspect.getdoc(value), name
            assert re.search(rf"^    (class )?{name}\(", text, re.MULTILINE), name
    assert pokecam.METHODS is METHODS
    assert pokecam.heatmaps.__module__ == "pokecam.cam.anywhere"


def test_other_names_are_an_error_and_modules_can_be_imported():
    with pytest.raises(AttributeError, match="module 'pokecam' has no attribute 'heatmap'"):
        pokecam.heatmap  # noqa: B018
    from pokecam import cam

    assert cam.__name__ == "pokecam.cam"


def test_an_explanation_has_the_maps_and_the_probabilities_of_an_image(folder):
    (explanation,) = pokecam.explain("images/a.png")
    model = pokecam.load_classifier("models/classifier.safetensors")
    captured = capture(model, prepare(torch.from_numpy(explanation.pixels)[None]))
    expected = captured.logits[0].softmax(0)
    assert explanation.file == Path("images/a.png")
    assert list(explanation.probabilities.values()) == pytest.approx(
        sorted(expected.tolist(), reverse=True), abs=1e-5
    )
    best, second, _ = explanation.probabilities
    assert list(explanation.heatmaps) == [(best, "cam"), (second, "cam")]
    maps = display(compute_maps(captured, "cam").numpy(), 64)[0]
    for (name, _), heatmap in explanation.heatmaps.items():
        np.testing.assert_allclose(heatmap, maps[CLASSES.index(name)], atol=1e-4)


def same(a, b, atol=0.0) -> bool:
    return a.heatmaps.keys() == b.heatmaps.keys() and all(
        np.allclose(a.heatmaps[key], b.heatmaps[key], atol=atol) for key in a.heatmaps
    )


def test_paths_images_and_arrays_of_one_image_give_the_same(folder):
    (expected,) = pokecam.explain("images/a.png")
    image = Image.open("images/a.png")
    pixels = np.asarray(image)
    several = [
        *(Path("images/a.png"), image, pixels, pixels / 255, (pixels / 255).astype(np.float32)),
        *(image.convert("RGBA"), np.dstack([pixels, np.full((80, 40), 255, np.uint8)])),
    ]
    for explanation in (*pokecam.explain(several), *pokecam.explain(pixels[None])):
        assert np.array_equal(explanation.pixels, expected.pixels)
        assert same(explanation, expected)
    names = [str(explanation.file) for explanation in pokecam.explain([image, pixels])]
    assert names == ["images/a.png", "image 2"]


def test_an_image_in_memory_is_turned_upright_and_put_on_white_as_a_file_is(folder):
    turned = Image.open("images/a.png")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save("turned.png", exif=exif)
    clear = Image.open("images/a.png").convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((40, 80)))
    clear.save("clear.png")
    Image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)).save("deep.png")
    for name in ("turned.png", "clear.png", "deep.png"):
        by_path, in_memory = pokecam.explain([name, Image.open(name)])
        assert np.array_equal(by_path.pixels, in_memory.pixels), name
    assert not np.array_equal(
        pokecam.explain("turned.png")[0].pixels, pokecam.explain("images/a.png")[0].pixels
    )


def test_a_grey_array_is_an_image(folder):
    grey = np.tile(np.arange(0, 160, 2, dtype=np.uint8)[:, None], (1, 40))
    flat, deep = pokecam.explain([grey, np.dstack([grey] * 3)])
    assert np.array_equal(flat.pixels, deep.pixels)


def test_a_folder_is_read_and_what_is_no_image_is_named(folder):
    (folder / "images" / "notes.txt").write_text("not an image")
    with pytest.warns(UserWarning, match=r"images/notes.txt: not used, not an image"):
        explanations = pokecam.explain("images")
    assert [str(e.file) for e in explanations] == ["images/a.png", "images/more/b.png"]


def test_classes_methods_and_layer_can_be_chosen(folder):
    model = pokecam.load_classifier("models/classifier.safetensors")
    explanations = pokecam.explain(
        "images", model, classes=["Cat", "Ant"], methods=["eigen_cam", "edges"], layer="features.9"
    )
    for explanation in explanations:
        assert list(explanation.heatmaps) == [
            (name, method) for method in ("eigen_cam", "edges") for name in ("Cat", "Ant")
        ]
    by_number = pokecam.explain("images", "models/classifier.safetensors", [2, 0], "eigen_cam")
    by_name = pokecam.explain("images", model, "Cat", "eigen_cam")
    key = ("Cat", "eigen_cam")
    assert np.array_equal(by_number[0].heatmaps[key], by_name[0].heatmaps[key])
    assert not np.array_equal(by_number[0].heatmaps[key], explanations[0].heatmaps[key])


def test_only_the_target_classes_are_computed(folder, monkeypatch):
    sizes = []

    def record(captured, *arguments, **options):
        maps = compute_maps(captured, *arguments, **options)
        sizes.append(maps.shape[1])
        return maps

    monkeypatch.setattr("pokecam.commands.explain.compute_maps", record)
    pokecam.explain("images/a.png", methods="layer_cam", classes="Bee")
    pokecam.explain("images/a.png", methods=["layer_cam", "edges"])
    assert sizes == [1, 2, 1]


def test_without_a_linear_head_grad_cam_is_the_default(folder):
    model = build_classifier("squeezenet1_1", "native", CLASSES, 64)
    assert {method for _, method in pokecam.explain("images/a.png", model)[0].heatmaps} == {
        "grad_cam"
    }
    model = build_classifier("squeezenet1_1", "gap", CLASSES, 64)
    earlier = pokecam.explain("images/a.png", model, layer="features.6")
    assert {method for _, method in earlier[0].heatmaps} == {"grad_cam"}


def test_explanations_show_themselves_in_a_notebook(folder):
    explanations = pokecam.explain(["images/a.png", "images/more/b.png"])
    png = explanations[0]._repr_png_()
    assert png.startswith(PNG)
    html = explanations._repr_html_()
    assert html.count("<img ") == 2
    assert html.count("data:image/png;base64,") == 2
    assert "images/more/b.png" in html
    assert len(explanations[1:]) == 1
    assert explanations[1:]._repr_html_().count("<img ") == 1
    drawing = pokecam.draw(explanations[0])
    assert drawing.size == (16 + 2 * (64 + 16), 30 + 2 * (64 + 30 + 16))
    assert repr(explanations).count("\n") == 1
    assert re.fullmatch(r"images/a\.png: (\w+ \d+ %(, )?){3}", repr(explanations[0]))


def test_an_image_unlike_the_classes_is_said_to_be_so(folder):
    explanation = pokecam.explain("images/a.png")[0]
    unlike = replace(explanation, n_nearer=119, n_validation=120)
    assert repr(unlike).endswith("119 of 120 validation images (99 %): may be none of them")
    assert "may be none of them" in Explanations([unlike])._repr_html_()


def test_names_in_a_notebook_are_text_and_not_html(folder):
    name = "<b>&.png"
    Image.new("RGB", (64, 64), "red").save(name)
    html = pokecam.explain(name)._repr_html_()
    assert "&lt;b&gt;&amp;.png" in html
    assert "<b>" not in html


def test_a_notebook_shows_the_first_of_many(folder):
    from pokecam.notebook import MAX_SHOWN

    explanations = pokecam.explain([np.zeros((64, 64), np.uint8)] * (MAX_SHOWN + 3))
    html = explanations._repr_html_()
    assert html.count("<img ") == MAX_SHOWN
    assert "3 more" in html


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ("nowhere.jpg", {}, "nowhere.jpg does not exist"),
        ("notes.txt", {}, "notes.txt cannot be used: not an image"),
        ([], {}, "images: none given"),
        (5, {}, "images: an int given; give paths, PIL images or arrays (H, W, 3)"),
        (torch.zeros(3, 64, 64), {}, "images: a Tensor given; give paths, PIL images or arrays"),
        (np.zeros((3, 64, 64), np.uint8), {}, "images: an array (3, 64, 64) of uint8 given"),
        (np.zeros((64, 64, 3), np.int64), {}, "images: an array (64, 64, 3) of int64 given"),
        (np.full((64, 64, 3), 255.0), {}, "images: floats from 255 to 255 given"),
        (np.full((64, 64, 3), np.nan), {}, "images: floats from nan to nan given"),
        (np.zeros((8, 64, 3), np.uint8), {}, "image 1 cannot be used: too small: 64×8 px"),
        ("a.png", {"model": "none.safetensors"}, "none.safetensors does not exist"),
        ("a.png", {"model": 5}, "model: an int given; give the path of a model file"),
        ("a.png", {"model": torch.nn.Linear(2, 2)}, "heatmaps(network, x)"),
        ("a.png", {"classes": ["Bea"]}, "'Bea' is no class of the network. Did you mean Bee?"),
        ("a.png", {"methods": "grad_camm"}, "methods: grad_camm is not known. Did you mean grad_"),
    ],
)
def test_bad_input_is_answered_in_one_line(folder, images, options, message):
    Image.new("RGB", (64, 64), "red").save("a.png")
    Path("notes.txt").write_text("not an image")
    with pytest.raises(InputError, match=re.escape(message)) as refusal:
        pokecam.explain(images, **options)
    assert "\n" not in str(refusal.value)


def test_without_a_model_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "red").save("a.png")
    with pytest.raises(
        InputError, match=r"models/classifier.safetensors does not exist in .*repro"
    ):
        pokecam.explain("a.png")


def test_a_network_cut_by_hand_is_sent_to_heatmaps(folder):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    classifier = pokecam.cut(network, torch.rand(1, 3, 64, 64))
    with pytest.raises(InputError, match=re.escape("heatmaps(network, x)")):
        pokecam.explain("images/a.png", classifier)


def test_a_folder_without_any_image_is_an_error(folder):
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("not an image")
    with warnings.catch_warnings(), pytest.raises(InputError, match="no image that can be used"):
        warnings.simplefilter("ignore")
        pokecam.explain("empty")
