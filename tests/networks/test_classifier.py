"""The classifier: heads, preparation of pixels, saving and loading."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from pokecam.common.errors import InputError
from pokecam.networks import classifier, safetensors_file
from pokecam.networks.settings import HEADS
from tests.support.networks import backbone_parameters, size_px

CLASSES = ("Ant", "Bee", "Mr. Mime")
SIZE_PX = 64
SMALL = "squeezenet1_1"


def build(backbone=SMALL, head="gap", seed=0):
    torch.manual_seed(seed)
    return classifier.build_classifier(backbone, head, CLASSES, SIZE_PX)


def random_pixels(n=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "resnet18", SMALL, "alexnet"])
@torch.no_grad()
def test_gap_logits_are_the_mean_activations_times_the_weights(backbone):
    model = build(backbone).eval()
    A = model.body(classifier.prepare(torch.from_numpy(random_pixels())))
    expected = A.double().mean(dim=(2, 3)) @ model.linear.weight.double().T + model.linear.bias
    assert torch.allclose(model.head(A).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "head", "has_linear"),
    [
        ("resnet18", "native", True),
        ("mobilenet_v2", "native", True),
        ("mobilenet_v3_small", "native", False),
        (SMALL, "native", False),
        ("alexnet", "native", False),
        ("alexnet", "gap", True),
    ],
)
def test_linear_is_the_layer_of_a_head_of_pooling_and_one_linear_layer(backbone, head, has_linear):
    with torch.device("meta"):
        model = classifier.build_classifier(backbone, head, CLASSES, SIZE_PX)
    assert (model.linear is not None) == has_linear


@pytest.mark.parametrize("backbone", backbone_parameters())
@pytest.mark.parametrize("head", HEADS)
def test_the_last_layer_has_one_output_per_class(backbone, head):
    with torch.device("meta"):
        model = classifier.build_classifier(backbone, head, CLASSES, size_px(backbone))
    assert len(model.last_layer.weight) == len(CLASSES)


def test_activations_can_be_differentiated_whatever_the_head_does_to_them():
    """An in-place operation on A would raise here, or change the gradient silently."""
    model = build("mobilenet_v3_small", "native").eval()
    A = model.body(classifier.prepare(torch.from_numpy(random_pixels()))).detach().requires_grad_()
    (first,) = torch.autograd.grad(model.head(A)[:, 0].sum(), A)
    (second,) = torch.autograd.grad(model.head(A)[:, 0].sum(), A)
    assert torch.equal(first, second)
    assert first.abs().max() > 0


def test_prepare_normalises_every_channel():
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    prepared = classifier.prepare(pixels).flatten().tolist()
    expected = [
        (value / 255 - mean) / std
        for value, mean, std in zip(
            (0, 128, 255), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True
        )
    ]
    assert prepared == pytest.approx(expected, abs=1e-6)


def test_prepare_gives_channels_last_and_does_not_change_the_pixels():
    pixels = torch.from_numpy(random_pixels())
    before = pixels.clone()
    prepared = classifier.prepare(pixels)
    assert prepared.shape == (2, 3, SIZE_PX, SIZE_PX)
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pixels, before)


def test_predict_in_batches_gives_the_logits_of_single_images_in_the_order_of_the_rows(monkeypatch):
    model, pixels = build(), random_pixels(5)
    rows = np.array([4, 0, 2])
    expected = classifier.predict(model, pixels, rows)
    monkeypatch.setitem(classifier.BATCH_SIZES, "cpu", 2)
    assert torch.allclose(classifier.predict(model, pixels, rows), expected, atol=1e-6)
    single = [classifier.predict(model, pixels, np.array([row])) for row in rows]
    assert torch.allclose(torch.cat(single), expected, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_what_is_loaded_is_what_was_saved(tmp_path, head):
    model = build("resnet18", head)
    with torch.no_grad():
        model.body.bn1.running_mean += 1  # buffers too
    path = tmp_path / "classifier.safetensors"
    classifier.save_classifier(model, path, weights="none")
    loaded = classifier.load_classifier(path)
    assert (loaded.backbone, loaded.head_kind) == ("resnet18", head)
    assert loaded.classes == CLASSES
    assert loaded.image_size == SIZE_PX
    assert not loaded.training
    pixels, rows = random_pixels(), np.arange(2)
    assert torch.equal(
        classifier.predict(loaded, pixels, rows), classifier.predict(model, pixels, rows)
    )


def test_the_file_says_all_that_another_program_needs(tmp_path):
    path = tmp_path / "classifier.safetensors"
    classifier.save_classifier(build(), path, weights="drawn")
    _, metadata = safetensors_file.read_safetensors(path)
    assert json.loads(metadata["classes"]) == list(CLASSES)
    assert json.loads(metadata["preprocessing"]) == {
        "colours": "RGB",
        "size_px": SIZE_PX,
        "fit": "letterbox",
        "resampling": "bicubic",
        "bars": "median colour of the two edges that touch them",
        "range": [0, 1],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert metadata["cam_layer"] == "features.12"
    assert metadata["weights"] == "drawn"
    assert metadata["image_size"] == str(SIZE_PX)


def test_metadata_are_written_in_one_order(tmp_path):
    """By itself safetensors writes them in the random order of a hash table."""
    metadata = {name: name * 3 for name in "zyxwvutsrqponmlkjihgfedcba"}
    path = tmp_path / "file.safetensors"
    safetensors_file.write_safetensors(path, {"b": torch.ones(2), "a": torch.zeros(1, 3)}, metadata)
    header = path.read_bytes()[8:].split(b"}")[0].decode()
    assert header.index('"a":') < header.index('"m":') < header.index('"z":')
    assert safetensors_file.read_safetensors(path)[1] == metadata
    assert torch.equal(safetensors_file.read_safetensors(path)[0]["b"], torch.ones(2))


def test_too_small_images_are_refused():
    with pytest.raises(InputError, match=r"image_size: 32 .* alexnet, which takes 63"):
        classifier.build_classifier("alexnet", "gap", CLASSES, 32)


def test_files_that_are_no_classifier_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="does not exist"):
        classifier.load_classifier(path)
    safetensors_file.write_safetensors(path, {"a": torch.ones(1)}, {"backbone": "resnet18"})
    with pytest.raises(InputError, match="its metadata lack head, classes, image_size"):
        classifier.load_classifier(path)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match="is not a safetensors file, or not a whole one"):
        classifier.load_classifier(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet999"}, "does not support: backbone resnet999"),
        ({"head": "mlp"}, "does not support: head mlp"),
        ({"classes": "Ant"}, "does not support: Expecting value"),
        ({"classes": "3"}, "does not support: classes 3"),
        ({"preprocessing": '{"fit": "crop"}'}, "preprocessing {'fit': 'crop'}"),
        ({"backbone": "squeezenet1_0"}, "a squeezenet1_0 with 3 classes, but the tensors are of"),
        ({"classes": '["Ant"]'}, "1 classes, but the tensors are of another network"),
    ],
)
def test_files_of_another_network_are_refused_in_one_line(tmp_path, changes, message):
    path = tmp_path / "classifier.safetensors"
    classifier.save_classifier(build(), path, weights="none")
    state, metadata = safetensors_file.read_safetensors(path)
    safetensors_file.write_safetensors(path, state, metadata | changes)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        classifier.load_classifier(path)
    assert "\n" not in str(error.value)


def test_a_last_layer_that_does_not_fit_the_body_is_refused(tmp_path):
    path = tmp_path / "classifier.safetensors"
    classifier.save_classifier(build(), path, weights="none")
    state, metadata = safetensors_file.read_safetensors(path)
    state["head.linear.weight"] = state["head.linear.weight"][:, :-1].contiguous()
    safetensors_file.write_safetensors(path, state, metadata)
    with pytest.raises(InputError, match="its last layer has 511 inputs, but the body of"):
        classifier.load_classifier(path)


def test_an_old_file_without_preprocessing_is_read(tmp_path):
    path = tmp_path / "classifier.safetensors"
    classifier.save_classifier(build(), path, weights="none")
    state, metadata = safetensors_file.read_safetensors(path)
    del metadata["preprocessing"], metadata["cam_layer"]
    safetensors_file.write_safetensors(path, state, metadata)
    assert classifier.load_classifier(path).cam_layer == "features.12"


def test_global_average_is_the_mean():
    A = torch.arange(8.0).view(1, 2, 2, 2)
    assert classifier.GlobalAverage()(A).tolist() == [[1.5, 5.5]]
    assert isinstance(build().head.pool, nn.Module)


@pytest.mark.parametrize("backbone", backbone_parameters())
def test_every_backbone_comes_back_from_its_file(backbone, tmp_path):
    """A file holds no attributes of modules: the network that is built for it must have them."""
    torch.manual_seed(0)
    side = size_px(backbone)
    model = classifier.build_classifier(backbone, "native", CLASSES, side).eval()
    nn.init.normal_(model.last_layer.weight, std=0.1)
    classifier.save_classifier(model, tmp_path / "model.safetensors", weights="none")
    x = torch.randn(1, 3, side, side).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(classifier.load_classifier(tmp_path / "model.safetensors")(x), model(x))
