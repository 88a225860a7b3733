"""Fine-tuning, on a network of one convolution and images of one colour each."""

import logging
import math
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from pokecam.common.errors import InputError
from pokecam.common.files import write_csv
from pokecam.networks import classifier
from pokecam.networks.classifier import Classifier, GlobalAverage, prepare
from pokecam.training import augmentation, last_layer, schedule, trainer
from pokecam.training import fit as fitting
from pokecam.training.checkpoints import Checkpoint
from pokecam.training.fit import fit, measure
from pokecam.training.settings import Recipe
from pokecam.training.trainer import LabelledImages

CLASSES = ("red", "green", "blue")
SIZE_PX = 32
ALLOCATOR = (
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)
RECIPE = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "weight_decay": 0.02,
    "label_smoothing": 0.1,
    "zoom_out": 0.0,
    "freeze": "none",
    "seed": 1,
}


def fine_tune(model, train, val, *, pretrained=True, checkpoint=None, **changes):
    recipe = Recipe(**(RECIPE | changes))
    return fit(model, train, val, recipe, pretrained=pretrained, checkpoint=checkpoint)


def images(n=24, seed=0, noise=40):
    """Images of one of three colours, drowned in noise."""
    chance = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    colours = np.array([(190, 90, 90), (90, 190, 90), (90, 90, 190)])[labels]
    pixels = colours[:, None, None, :] + chance.normal(0, noise, (n, SIZE_PX, SIZE_PX, 3))
    return LabelledImages(pixels.clip(0, 255).astype(np.uint8), np.arange(n), labels)


def tiny(seed=0):
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(3, 8, kernel_size=3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    )
    head = nn.Sequential()
    head.pool, head.linear = GlobalAverage(), nn.Linear(8, 3)
    return Classifier(
        body, head, backbone="resnet18", head_kind="gap", classes=CLASSES, image_size=SIZE_PX
    )


def fitted(**changes):
    model = tiny()
    return model, fine_tune(model, images(), images(seed=1), **changes)


def test_it_learns_colours():
    model, history = fitted(pretrained=False, learning_rate=0.03, epochs=5)
    assert history.val_accuracy.iloc[-1] == 1
    assert history.train_loss.iloc[-1] < history.train_loss.iloc[0]
    assert not model.training


@pytest.fixture
def uncalibrated(monkeypatch):
    monkeypatch.setattr(fitting, "calibrate", lambda *_: 1.0)


@pytest.mark.usefixtures("uncalibrated")
def test_the_weights_are_those_of_the_last_epoch():
    """With a rate this high the epochs go up and down, and the last is not the best."""
    model, history = fitted(learning_rate=0.3, epochs=8, pretrained=False, weight_decay=0.0)
    last = history.iloc[-1]
    assert last.val_loss > history.val_loss.min()
    loss, accuracy = measure(model, images(seed=1))
    assert (loss, accuracy) == (last.val_loss, last.val_accuracy)


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for run in ("first", "second", "other"):
        torch.manual_seed(5)
        model = classifier.build_classifier("mobilenet_v3_small", "native", CLASSES, SIZE_PX)
        seed = 2 if run == "other" else 1
        history = fine_tune(model, images(12), images(6, seed=1), epochs=2, seed=seed)
        classifier.save_classifier(model, tmp_path / f"{run}.safetensors", weights="none")
        write_csv(tmp_path / f"{run}.csv", history)
        torch.rand(3)  # somebody else draws in between
    for kind in ("safetensors", "csv"):
        first, second, other = (
            (tmp_path / f"{run}.{kind}").read_bytes() for run in ("first", "second", "other")
        )
        assert first == second
        assert first != other


def test_an_epoch_shows_every_image_once(monkeypatch):
    shown = []

    def record(pixels, views, size_px):
        shown.append(pixels)
        return prepare(pixels)

    monkeypatch.setattr(trainer, "augment", record)
    part = images(21)
    fine_tune(tiny(), part, images(6), epochs=2, pretrained=False)
    assert [len(batch) for batch in shown] == [7, 7, 7] * 2  # no step of a few left over
    for epoch in (shown[:3], shown[3:]):
        seen = {image.numpy().tobytes() for image in torch.cat(epoch)}
        assert seen == {image.tobytes() for image in part.pixels}
    assert not torch.equal(shown[0], shown[3])


def test_a_share_of_the_views_is_zoomed_out(monkeypatch):
    seen = []

    def record(pixels, views, size_px):
        seen.append(views.zoomed)
        return augmentation.augment(pixels, views, size_px)

    monkeypatch.setattr(trainer, "augment", record)
    fitted(zoom_out=0.5, epochs=10)
    zoomed = torch.cat(seen)
    assert (zoomed < 1).float().mean() == pytest.approx(0.5, abs=0.1)


def test_only_the_rows_of_a_part_are_read_from_a_read_only_map(tmp_path):
    part = images(12)
    np.save(tmp_path / "pixels.npy", np.concatenate([part.pixels * 0, part.pixels]))
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    shifted = LabelledImages(mapped, part.rows + 12, part.labels)
    model, same = tiny(), tiny()
    history = fine_tune(model, part, part)
    assert fine_tune(same, shifted, shifted).equals(history)


def test_a_loss_that_is_not_finite_stops_with_epoch_step_and_rate():
    with pytest.raises(InputError, match=r"epoch \d+, step \d+, at a learning rate of \S+e\+3\d"):
        fitted(learning_rate=1e38, pretrained=False)


def test_chance_is_a_loud_warning(caplog):
    train = images()
    senseless = LabelledImages(
        train.pixels, train.rows, np.roll(train.labels, 12) * 0 + np.arange(24) // 8
    )
    with caplog.at_level(logging.WARNING):
        fine_tune(tiny(), senseless, senseless, epochs=1, pretrained=False)
    assert "no better than chance" in caplog.text
    assert "learning_rate" in caplog.text


def test_success_is_not_warned_about(caplog):
    fitted()
    assert not caplog.records


def test_progress_is_a_plain_line_per_epoch_without_a_terminal(capsys):
    fitted()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("val accuracy" in line and "s left" in line and "images/s" in line for line in lines)


def inputs(seed=0):
    """Inputs (30, 5) of three classes, of which the first has 5 and the third 15, with labels."""
    chance = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [5, 10, 15])
    x = chance.normal(labels[:, None] * [1, -1, 0, 0.5, 0], [1, 2, 1, 0.5, 3]) * 7 + 2
    return torch.from_numpy(x).float(), torch.from_numpy(labels)


def test_the_last_layer_is_fitted_as_scikit_learn_fits_it():
    x, labels = inputs()
    layer = nn.Linear(5, 3)
    loss = nn.CrossEntropyLoss(schedule.class_weights(labels.numpy(), 3))
    last_layer.fit_linear(layer, x, labels, loss)
    with torch.no_grad():
        ours = layer(x).softmax(dim=1).numpy()
    z = ((x - x.mean(dim=0)) / x.std(dim=0, correction=0)).numpy()
    # scikit-learn sums the losses and weighs that sum with C
    theirs = LogisticRegression(
        C=1 / (last_layer.RIDGE * len(x)), class_weight="balanced", tol=1e-8, max_iter=1000
    ).fit(z, labels.numpy())
    assert ours == pytest.approx(theirs.predict_proba(z), abs=1e-3)


def test_an_input_that_hardly_varies_gets_no_exploding_weight():
    """Standardised by itself, an input of spread 1e-6 would get a weight of a million."""
    x, labels = inputs()
    x[:, 0] *= 1e-6
    layer = nn.Linear(5, 3)
    last_layer.fit_linear(layer, x, labels, nn.CrossEntropyLoss())
    assert layer.weight[:, 0].abs().max() < layer.weight.abs().max()


def test_a_fitted_head_starts_the_training_where_it_would_otherwise_get_late():
    _, started = fitted(epochs=1, learning_rate=1e-6)
    _, cold = fitted(epochs=1, learning_rate=1e-6, pretrained=False)
    assert started.train_accuracy[0] == 1
    assert started.train_loss[0] < 0.5 * cold.train_loss[0]


@pytest.mark.parametrize("head", classifier.HEADS)
def test_fitting_the_head_leaves_the_body_and_no_hook(head):
    model = classifier.build_classifier("mobilenet_v3_small", head, CLASSES, SIZE_PX)
    body = [weight.clone() for weight in model.body.parameters()]
    last = model.last_layer.weight.clone()
    fine_tune(model, images(6), images(3), epochs=1, learning_rate=1e-30)
    assert all(map(torch.allclose, body, model.body.parameters()))
    assert not torch.allclose(model.last_layer.weight, last)
    assert not model.last_layer._forward_pre_hooks


@pytest.mark.usefixtures("uncalibrated")
def test_a_convolution_as_last_layer_is_left_to_the_training():
    model = classifier.build_classifier("squeezenet1_1", "native", CLASSES, SIZE_PX)
    last = model.last_layer.weight.clone()
    fine_tune(model, images(6), images(3), epochs=1, learning_rate=1e-30)
    assert torch.equal(model.last_layer.weight, last)


def test_class_weights_by_hand():
    weights = schedule.class_weights(np.array([0, 0, 0, 2]), 3)
    # n / (C · n_c) with counts 3, 0, 1; a class without images counts as if it had one
    assert weights.tolist() == pytest.approx([4 / 9, 4 / 3, 4 / 3])
    assert schedule.class_weights(np.array([0, 1, 0, 1]), 2).tolist() == [1, 1]


def test_fewer_images_are_shown_more_often_within_bounds():
    epochs = [schedule.n_epochs(n) for n in (1, 50, 360, 100_000)]
    least, most = schedule.EPOCHS
    assert epochs[0] == most
    assert epochs[-1] == least
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[2] * 360 == pytest.approx(schedule.IMAGES_SEEN, abs=180)


def test_the_rate_rises_and_falls():
    factor = schedule.rate_factor(100)
    rates = [factor(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[10 + 45] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert schedule.rate_factor(1)(0) == 1


def test_the_last_layer_learns_faster_and_only_matrices_decay():
    groups = trainer.parameter_groups(tiny(), weight_decay=0.5)
    shape = [
        (group["times"], group["weight_decay"], [weight.ndim for weight in group["params"]])
        for group in groups
    ]
    last = trainer.LAST_LAYER
    assert shape == [(1, 0.5, [4]), (1, 0, [1, 1]), (last, 0.5, [2]), (last, 0, [1])]


def test_hidden_layers_of_a_head_learn_as_the_body_does():
    """They may be pretrained as it is."""
    model = classifier.build_classifier("vgg11", "native", CLASSES, SIZE_PX)
    groups = trainer.parameter_groups(model, weight_decay=0.0)
    fast = {id(weight) for group in groups if group["times"] != 1 for weight in group["params"]}
    assert fast == {id(weight) for weight in model.head.classifier[6].parameters()}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("backbone", "pace"), [("resnet18", 1), ("vgg11_bn", 1), ("vgg11", 0.1), ("convnext_tiny", 0.1)]
)
def test_networks_without_batchnorm_learn_slower(backbone, pace):
    with torch.device("meta"):
        model = classifier.build_classifier(backbone, "gap", CLASSES, 64)
    assert schedule.rate_multiplier(model) == pace


@pytest.mark.parametrize(
    ("backbone", "image_size", "view"),
    [("resnet18", 224, 160), ("resnet18", 64, 32), ("resnet18", 30, 21), ("alexnet", 64, 63)],
)
def test_views_are_smaller_than_the_images_but_not_too_small(backbone, image_size, view):
    with torch.device("meta"):
        model = classifier.build_classifier(backbone, "gap", CLASSES, image_size)
    assert schedule.view_size(model) == view


def test_measure_by_hand():
    model = tiny().eval()
    nn.init.zeros_(model.head.linear.weight)
    model.head.linear.bias.data = torch.tensor([math.log(2), 0.0, 0.0])  # 1/2, 1/4, 1/4
    loss, accuracy = measure(model, images(3))
    assert loss == pytest.approx(-(math.log(1 / 2) + 2 * math.log(1 / 4)) / 3)
    assert accuracy == pytest.approx(1 / 3)


def flat(logits):
    """A network that gives every image the same logits."""
    model = tiny().eval()
    nn.init.zeros_(model.head.linear.weight)
    model.head.linear.bias.data = torch.tensor(logits)
    return model


def test_calibrate_by_hand():
    """Logits β · (log 2, 0, 0) name the first class with probability q = 2^β / (2^β + 2). It is
    right for 4 of 6 images, which by Platt's targets counts as 7/8 · 4/6 + 1/8 · 1/3 = 5/8, and
    q = 5/8 where 2^β = 10/3."""
    model = flat([math.log(2), 0.0, 0.0])
    part = images(6)
    part.labels[:] = [0, 0, 0, 0, 1, 2]
    scale = math.log2(10 / 3)
    assert fitting.calibrate(model, part) == pytest.approx(1 / scale, rel=1e-3)
    expected = torch.tensor([math.log(2) * scale, 0.0, 0.0])
    torch.testing.assert_close(model.head.linear.bias.data, expected, rtol=1e-3, atol=0)


def test_calibrate_changes_no_decision_and_only_the_scale_of_logits():
    model, _ = fitted()
    part = images(seed=2)
    before = classifier.predict(model, part.pixels, part.rows)
    temperature = fitting.calibrate(model, part)
    after = classifier.predict(model, part.pixels, part.rows)
    torch.testing.assert_close(after * temperature, before)


@pytest.mark.parametrize("label", [0, 1])
def test_calibrate_stays_finite_where_all_is_right_or_wrong(label):
    model = flat([1.0, 0.0, 0.0])
    part = images(30)
    part.labels[:] = label
    temperature = fitting.calibrate(model, part)
    assert 1 / 10 <= temperature <= 10 + 1e-6
    assert model.head.linear.bias.isfinite().all()


def test_convolutions_learn_in_bfloat16_where_that_is_faster(monkeypatch):
    able = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    model, seen = tiny(), set()
    model.body[0].register_forward_hook(
        lambda module, _, given: seen.add((module.training, given.dtype))
    )
    fine_tune(model, images(6), images(3), epochs=1, pretrained=False)
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def without_norm():
    """A network whose steps do not depend on how their images are divided."""
    model = tiny()
    model.body = nn.Sequential(nn.Conv2d(3, 8, kernel_size=3, stride=2), nn.ReLU())
    return model


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setattr(trainer, "mixed_precision", lambda network: nullcontext())


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("told", [torch.OutOfMemoryError("CUDA"), RuntimeError(ALLOCATOR)])
def test_what_memory_does_not_hold_is_learnt_in_parts(caplog, told):
    holds = 3

    def refuse(module, inputs):
        if module.training and len(inputs[0]) > holds:
            raise told

    torch.manual_seed(3)
    whole, parts = without_norm(), without_norm()
    parts.load_state_dict(whole.state_dict())
    parts.register_forward_pre_hook(refuse)
    expected = fine_tune(whole, images(), images(seed=1))
    history = fine_tune(parts, images(), images(seed=1))
    pd.testing.assert_frame_equal(history, expected, rtol=1e-4)
    assert [record.getMessage() for record in caplog.records] == [
        "memory does not hold 8 images at once: each step now learns from 4 at a time",
        "memory does not hold 4 images at once: each step now learns from 2 at a time",
    ]


def test_where_not_one_image_fits_the_error_is_told():
    def refuse(module, inputs):
        if module.training:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = tiny()
    model.register_forward_pre_hook(refuse)
    with pytest.raises(torch.OutOfMemoryError):
        fine_tune(model, images(), images(seed=1), pretrained=False)


def test_other_errors_are_not_taken_for_want_of_memory():
    def fail(module, inputs):
        if module.training:
            raise RuntimeError("something else")

    model = tiny()
    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="something else"):
        fine_tune(model, images(), images(seed=1), pretrained=False)


class Interrupted:
    """Asks to stop after so many looks."""

    def __init__(self, monkeypatch, after):
        self.left = after
        monkeypatch.setattr(fitting, "defer_interrupts", lambda: nullcontext(self.asked))

    def asked(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("after", [0, 2, 3, 5, 11])
def test_a_training_in_two_goes_ends_with_the_same_bits(tmp_path, monkeypatch, after):
    """Three steps an epoch and a look after it: stopped in an epoch, after one, after the last."""
    expected_model, expected = fitted()
    checkpoint = Checkpoint(tmp_path / "state.pt")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="run again"):
        Interrupted(patch, after)
        fitted(checkpoint=checkpoint)
    model, history = fitted(checkpoint=checkpoint)
    assert history.equals(expected)
    for name, tensor in expected_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_a_training_without_checkpoint_stops_with_a_word(monkeypatch):
    Interrupted(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt, match="stopped after 1 of 3 epochs"):
        fitted()


@pytest.mark.parametrize(
    ("freeze", "learning"),
    [("none", ("body", "head")), ("body", ("head",)), ("features.9", ("body.features.1", "head"))],
)
def test_what_is_frozen_stays_as_it_is(freeze, learning):
    model = classifier.build_classifier("squeezenet1_1", "gap", CLASSES, SIZE_PX)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    fine_tune(model, images(6), images(3), epochs=1, freeze=freeze)
    changed = {name for name, weight in model.named_parameters() if not weight.equal(before[name])}
    assert changed == {name for name in before if name.startswith(learning)}


@pytest.mark.parametrize("pretrained", [True, False])
def test_early_layers_stay_as_they_are_if_they_have_learnt_something(pretrained):
    """Of squeezenet at 32 px those with maps of 4 px and more: all before the second pooling."""
    model = classifier.build_classifier("squeezenet1_1", "gap", CLASSES, SIZE_PX)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    fine_tune(model, images(6), images(3), epochs=1, freeze="early", pretrained=pretrained)
    same = {name for name, weight in model.named_parameters() if weight.equal(before[name])}
    early = tuple(f"body.features.{i}." for i in (0, 3, 4))
    assert same == {name for name in before if pretrained and name.startswith(early)}


def test_frozen_norms_keep_their_statistics():
    model = classifier.build_classifier("resnet18", "gap", CLASSES, SIZE_PX)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    fine_tune(model, images(6), images(3), epochs=1, freeze="layer2")
    same = {name for name, buffer in model.named_buffers() if buffer.equal(before[name])}
    late = {name for name in before if ".layer3." in name or ".layer4." in name}
    assert same == set(before) - late


def test_a_layer_to_freeze_that_there_is_not():
    with pytest.raises(InputError, match="freeze: resnet18 has no layer layer9"):
        fitted(freeze="layer9")


@pytest.mark.parametrize(("steps", "expected"), [(0, 4), (1, 4), (2, 3), (4, 2.5)])
def test_averages_by_hand(steps, expected):
    """The first weights are taken over whole; the second count 1 / steps."""
    model = nn.Linear(1, 1)
    averaged = trainer.averaged_model(model, steps)
    for value in (2.0, 4.0):
        nn.init.constant_(model.weight, value)
        averaged.update_parameters(model)
    assert averaged.module.weight.item() == pytest.approx(expected)
