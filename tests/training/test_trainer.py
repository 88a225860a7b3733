"""The steps of a training: which images they learn from, in which type, in how much memory."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pokecam.common.errors import InputError
from pokecam.networks import classifier
from pokecam.networks.classifier import prepare
from pokecam.networks.settings import HEADS
from pokecam.training import augmentation, step
from pokecam.training.trainer import LabelledImages
from tests.training.tiny import (
    CLASSES,
    SIZE_PX,
    fine_tune,
    labelled_images,
    tiny_classifier,
    train_tiny,
)

ALLOCATOR = (
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)


def test_an_epoch_shows_every_image_once(monkeypatch):
    batches = []

    def record(pixels, views, size_px, zooms):
        batches.append(pixels)
        return prepare(pixels)

    monkeypatch.setattr(step, "augment", record)
    train = labelled_images(21)
    fine_tune(tiny_classifier(), train, labelled_images(6), epochs=2, pretrained=False)
    assert [len(batch) for batch in batches] == [7, 7, 7] * 2  # with a batch size of 8
    for epoch in (batches[:3], batches[3:]):
        images = {image.numpy().tobytes() for image in torch.cat(epoch)}
        assert images == {image.tobytes() for image in train.pixels}
    assert not torch.equal(batches[0], batches[3])


def test_a_share_of_the_views_is_zoomed_out(monkeypatch):
    sides = []

    def record(pixels, views, size_px, zooms):
        sides.append(views.zoom)
        return augmentation.augment(pixels, views, size_px, zooms=zooms)

    monkeypatch.setattr(step, "augment", record)
    train_tiny(zoom_out=0.5, epochs=10)
    assert (torch.cat(sides) < 1).float().mean() == pytest.approx(0.5, abs=0.1)


def test_only_the_rows_of_the_subset_are_read_from_a_read_only_file(tmp_path):
    images = labelled_images(12)
    np.save(tmp_path / "pixels.npy", np.concatenate([images.pixels * 0, images.pixels]))
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    shifted = LabelledImages(mapped, images.rows + 12, images.labels)
    history = fine_tune(tiny_classifier(), images, images)
    assert fine_tune(tiny_classifier(), shifted, shifted).equals(history)


def test_the_error_for_a_loss_that_is_not_finite_names_epoch_step_and_rate():
    with pytest.raises(InputError, match=r"epoch \d+, step \d+, at a learning rate of \S+e\+3\d"):
        train_tiny(learning_rate=1e38, pretrained=False)


def test_a_fitted_last_layer_has_a_low_loss_from_the_first_epoch_on():
    _, fitted = train_tiny(epochs=1, learning_rate=1e-6)
    _, random = train_tiny(epochs=1, learning_rate=1e-6, pretrained=False)
    assert fitted.train_accuracy[0] == 1
    assert fitted.train_loss[0] < 0.5 * random.train_loss[0]


@pytest.mark.parametrize("learning_rate", [1e-6, 3e-2], ids=["last layer fitted", "all layers"])
def test_a_class_of_one_image_takes_no_image_of_the_other_classes(learning_rate):
    """The network is fitted before the first step, and hardly learns at the lower rate."""
    images = labelled_images(120)
    rows = np.flatnonzero((images.labels != 2) | (images.rows == 2))
    train = LabelledImages(images.pixels, rows, images.labels[rows])
    model = tiny_classifier()
    fine_tune(
        model,
        train,
        labelled_images(),
        learning_rate=learning_rate,
        pretrained=learning_rate < 1e-3,
    )
    others = labelled_images(60, seed=2)
    rows = np.flatnonzero(others.labels != 2)
    predicted = classifier.predict(model, others.pixels, rows).argmax(dim=1).numpy()
    assert (predicted == others.labels[rows]).mean() > 0.95


@pytest.mark.parametrize("head", HEADS)
def test_fitting_the_last_layer_changes_nothing_else_and_leaves_no_hook(head):
    model = classifier.build_classifier("mobilenet_v3_small", head, CLASSES, SIZE_PX)
    body = [weight.clone() for weight in model.body.parameters()]
    last = model.last_layer.weight.clone()
    fine_tune(model, labelled_images(6), labelled_images(3), epochs=1, learning_rate=1e-30)
    assert all(map(torch.allclose, body, model.body.parameters()))
    assert not torch.allclose(model.last_layer.weight, last)
    assert not model.last_layer._forward_pre_hooks


@pytest.mark.usefixtures("uncalibrated")
def test_a_convolution_as_last_layer_is_not_fitted():
    model = classifier.build_classifier("squeezenet1_1", "native", CLASSES, SIZE_PX)
    last = model.last_layer.weight.clone()
    fine_tune(model, labelled_images(6), labelled_images(3), epochs=1, learning_rate=1e-30)
    assert torch.equal(model.last_layer.weight, last)


def test_the_last_layer_learns_faster_and_only_matrices_decay():
    groups = step.parameter_groups(tiny_classifier(), weight_decay=0.5)
    summary = [
        (group["times"], group["weight_decay"], [weight.ndim for weight in group["params"]])
        for group in groups
    ]
    last = step.LAST_LAYER
    assert summary == [(1, 0.5, [4]), (1, 0, [1, 1]), (last, 0.5, [2]), (last, 0, [1])]


def test_hidden_layers_of_a_head_learn_as_the_body_does():
    """They may hold pretrained weights, too."""
    model = classifier.build_classifier("vgg11", "native", CLASSES, SIZE_PX)
    groups = step.parameter_groups(model, weight_decay=0.0)
    fast = {id(weight) for group in groups if group["times"] != 1 for weight in group["params"]}
    assert fast == {id(weight) for weight in model.head.classifier[6].parameters()}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_convolutions_learn_in_bfloat16_where_that_is_faster(monkeypatch):
    capabilities = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    model, types = tiny_classifier(), set()
    model.body[0].register_forward_hook(
        lambda module, _, output: types.add((module.training, output.dtype))
    )
    fine_tune(model, labelled_images(6), labelled_images(3), epochs=1, pretrained=False)
    assert types == {(True, torch.bfloat16), (False, torch.float32)}
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def without_norm():
    """A classifier without BatchNorm: its steps do not depend on how their images are divided."""
    model = tiny_classifier()
    model.body = nn.Sequential(nn.Conv2d(3, 8, kernel_size=3, stride=2), nn.ReLU())
    return model


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setattr(step, "mixed_precision", lambda network: nullcontext())


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError(ALLOCATOR)])
def test_a_step_that_does_not_fit_into_memory_is_divided(caplog, error):
    n_fitting = 3

    def limit_memory(module, inputs):
        if module.training and len(inputs[0]) > n_fitting:
            raise error

    torch.manual_seed(3)
    unlimited, limited = without_norm(), without_norm()
    limited.load_state_dict(unlimited.state_dict())
    limited.register_forward_pre_hook(limit_memory)
    expected = fine_tune(unlimited, labelled_images(), labelled_images(seed=1))
    history = fine_tune(limited, labelled_images(), labelled_images(seed=1))
    pd.testing.assert_frame_equal(history, expected, rtol=1e-4)
    assert [record.getMessage() for record in caplog.records] == [
        "memory does not hold 8 images at once: each step now takes 4 at a time",
        "memory does not hold 4 images at once: each step now takes 2 at a time",
    ]


def test_where_not_one_image_fits_the_error_is_raised():
    def limit_memory(module, inputs):
        if module.training:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = tiny_classifier()
    model.register_forward_pre_hook(limit_memory)
    with pytest.raises(torch.OutOfMemoryError):
        fine_tune(model, labelled_images(), labelled_images(seed=1), pretrained=False)


def test_other_errors_do_not_count_as_a_lack_of_memory():
    def fail(module, inputs):
        if module.training:
            raise RuntimeError("another error")

    model = tiny_classifier()
    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="another error"):
        fine_tune(model, labelled_images(), labelled_images(seed=1), pretrained=False)


@pytest.mark.parametrize(("steps", "expected"), [(0, 4), (1, 4), (2, 3), (4, 2.5)])
def test_averages_by_hand(steps, expected):
    """The average begins with the first weights. The second weights count 1 / steps."""
    model = nn.Linear(1, 1)
    averaged = step.averaged_model(model, steps)
    for value in (2.0, 4.0):
        nn.init.constant_(model.weight, value)
        averaged.update_parameters(model)
    assert averaged.module.weight.item() == pytest.approx(expected)
