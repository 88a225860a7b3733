"""Fine-tuning as a whole: history, result, calibration, interruption."""

import logging
import math
from contextlib import nullcontext
from itertools import chain, repeat

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from pokecam.common.files import write_csv
from pokecam.networks import classifier
from pokecam.training import fit as fitting
from pokecam.training import trainer
from pokecam.training.checkpoints import Checkpoint
from pokecam.training.fit import measure
from pokecam.training.trainer import LabelledImages
from tests.training.tiny import (
    CLASSES,
    SIZE_PX,
    fine_tune,
    labelled_images,
    tiny_classifier,
    train_tiny,
)


def test_a_network_learns_colours():
    model, history = train_tiny(pretrained=False, learning_rate=0.03, epochs=5)
    assert history.val_accuracy.iloc[-1] == 1
    assert history.train_loss.iloc[-1] < history.train_loss.iloc[0]
    assert not model.training


@pytest.mark.usefixtures("uncalibrated")
def test_the_weights_are_those_of_the_last_epoch():
    """The learning rate is so high that the last epoch is not the one with the least loss."""
    model, history = train_tiny(learning_rate=0.3, epochs=8, pretrained=False, weight_decay=0.0)
    last_row = history.iloc[-1]
    assert last_row.val_loss > history.val_loss.min()
    loss, accuracy = measure(model, labelled_images(seed=1))
    assert (loss, accuracy) == (last_row.val_loss, last_row.val_accuracy)


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for run in ("first", "repeated", "different"):
        torch.manual_seed(5)
        model = classifier.build_classifier("mobilenet_v3_small", "native", CLASSES, SIZE_PX)
        seed = 2 if run == "different" else 1
        history = fine_tune(
            model, labelled_images(12), labelled_images(6, seed=1), epochs=2, seed=seed
        )
        classifier.save_classifier(model, tmp_path / f"{run}.safetensors", weights="none")
        write_csv(tmp_path / f"{run}.csv", history)
        torch.rand(3)  # somebody else uses the global generator
    for suffix in ("safetensors", "csv"):
        first, repeated, different = (
            (tmp_path / f"{run}.{suffix}").read_bytes()
            for run in ("first", "repeated", "different")
        )
        assert first == repeated
        assert first != different


def test_an_accuracy_no_better_than_chance_is_a_warning(caplog):
    train = labelled_images()
    mislabelled = LabelledImages(train.pixels, train.rows, np.arange(24) // 8)
    with caplog.at_level(logging.WARNING):
        fine_tune(tiny_classifier(), mislabelled, mislabelled, epochs=1, pretrained=False)
    assert "no better than chance" in caplog.text
    assert "learning_rate" in caplog.text


@pytest.mark.parametrize(
    ("n_correct", "expected"),
    [
        (13, []),
        (
            12,
            [
                "WARNING: validation accuracy 0.67 (12 of 18 images) cannot be told from chance "
                "(0.50; p = 0.12, exact binomial test): these are too few images to judge the "
                "network by. See the accuracy on the test set, and its confidence interval; more "
                "images, or a higher val_fraction, would tell"
            ],
        ),
    ],
)
def test_few_validation_images_do_not_say_that_nothing_was_learnt(
    caplog, monkeypatch, n_correct, expected
):
    """Of 18 coins, 13 or more heads have a probability of 12616 / 2¹⁸ = 0.048, and 12 or more of
    0.119."""
    monkeypatch.setattr(fitting, "measure", lambda *_: (1.0, n_correct / 18))
    val = labelled_images(18)
    val.labels[:] = np.arange(18) % 2
    fine_tune(tiny_classifier(), labelled_images(), val, epochs=1)
    assert [record.getMessage() for record in caplog.records] == expected


@pytest.mark.parametrize(
    ("n_correct", "n", "n_classes", "expected"),
    [
        (14, 120, 10, "no better than chance (0.10): the network has learnt next to nothing"),
        (19, 120, 10, None),
        (40, 60, 2, None),
        (34, 60, 2, "no better than chance (0.50): the network has learnt next to nothing"),
        (2, 3, 3, "cannot be told from chance (0.33; p = 0.26"),
    ],
)
def test_what_is_said_of_chance_depends_on_the_number_of_images(n_correct, n, n_classes, expected):
    message = fitting.chance_warning(n_correct, np.arange(n) % n_classes)
    assert expected in message if expected else message is None


def test_chance_is_judged_by_the_exact_binomial_test():
    """The p-value and the limit of Clopper and Pearson, against SciPy's own test."""
    for n, n_correct in [(30, 0), (30, 4), (30, 30), (120, 12), (3, 1)]:
        p = stats.binomtest(n_correct, n, 1 / 3, alternative="greater").pvalue
        high = stats.binomtest(n_correct, n).proportion_ci(0.95, method="exact").high
        message = fitting.chance_warning(n_correct, np.arange(n) % 3)
        assert (message is None) == (p < 0.05)
        if message:
            assert ("no better than chance" in message) == (high < 2 / 3)
            assert "no better" in message or f"p = {p:.2g}," in message


def test_success_gives_no_warning(caplog):
    train_tiny()
    assert not caplog.records


def test_progress_is_a_plain_line_per_epoch_without_a_terminal(capsys):
    train_tiny()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("val accuracy" in line and "s left" in line and "images/s" in line for line in lines)


def test_measure_by_hand():
    model = tiny_classifier().eval()
    nn.init.zeros_(model.head.linear.weight)
    model.head.linear.bias.data = torch.tensor([math.log(2), 0.0, 0.0])  # 1/2, 1/4, 1/4
    loss, accuracy = measure(model, labelled_images(3))
    assert loss == pytest.approx(-(math.log(1 / 2) + 2 * math.log(1 / 4)) / 3)
    assert accuracy == pytest.approx(1 / 3)


def constant_classifier(logits):
    """A classifier that computes the same logits for every image."""
    model = tiny_classifier().eval()
    nn.init.zeros_(model.head.linear.weight)
    model.head.linear.bias.data = torch.tensor(logits)
    return model


def test_calibrate_by_hand():
    """Logits β · (log 2, 0, 0) give the first class the probability q = 2^β / (2^β + 2).

    This is the class of 4 of 6 images. With Platt's targets, its frequency is
    7/8 · 4/6 + 1/8 · 1/3 = 5/8. q equals that where 2^β = 10/3.
    """
    model = constant_classifier([math.log(2), 0.0, 0.0])
    images = labelled_images(6)
    images.labels[:] = [0, 0, 0, 0, 1, 2]
    scale = math.log2(10 / 3)
    assert fitting.calibrate(model, images) == pytest.approx(1 / scale, rel=1e-3)
    expected = torch.tensor([math.log(2) * scale, 0.0, 0.0])
    torch.testing.assert_close(model.head.linear.bias.data, expected, rtol=1e-3, atol=0)


def test_calibrate_changes_only_the_scale_of_the_logits():
    model, _ = train_tiny()
    images = labelled_images(seed=2)
    before = classifier.predict(model, images.pixels, images.rows)
    temperature = fitting.calibrate(model, images)
    after = classifier.predict(model, images.pixels, images.rows)
    torch.testing.assert_close(after * temperature, before)


@pytest.mark.parametrize("label", [0, 1])
def test_calibrate_stays_finite_where_all_images_are_classified_correctly_or_none(label):
    model = constant_classifier([1.0, 0.0, 0.0])
    images = labelled_images(30)
    images.labels[:] = label
    temperature = fitting.calibrate(model, images)
    assert 1 / 10 <= temperature <= 10 + 1e-6
    assert model.head.linear.bias.isfinite().all()


def interrupt_after(n_checks, monkeypatch):
    """Let the training find itself interrupted when it has checked for that so many times."""
    results = chain(repeat(False, n_checks), repeat(True))
    monkeypatch.setattr(fitting, "defer_interrupts", lambda: nullcontext(lambda: next(results)))


@pytest.mark.parametrize("n_checks", [0, 2, 3, 5, 11])
def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, monkeypatch, n_checks):
    """A training checks after each of the three steps of an epoch, and after the epoch.

    So it is interrupted within an epoch, between two epochs, and after the last.
    """
    expected_model, expected = train_tiny()
    checkpoint = Checkpoint(tmp_path / "state.pt")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="run again"):
        interrupt_after(n_checks, patch)
        train_tiny(checkpoint=checkpoint)
    model, history = train_tiny(checkpoint=checkpoint)
    assert history.equals(expected)
    for name, tensor in expected_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


@pytest.mark.parametrize(("share", "n_saved"), [(math.inf, 3), (1e-9, 1)])
def test_checkpoints_take_no_more_than_a_share_of_the_time(tmp_path, monkeypatch, share, n_saved):
    """The first epoch is kept at once: nobody knows yet how long that takes."""
    monkeypatch.setattr(trainer, "SAVING", share)
    epochs = []

    class Recording(Checkpoint):
        def save(self, state):
            super().save(state)
            epochs.append(state["epoch"])

    train_tiny(checkpoint=Recording(tmp_path / "state.pt"))
    assert epochs == [2, 3, 4][:n_saved]


def test_an_interrupted_training_without_checkpoint_says_how_far_it_was(monkeypatch):
    interrupt_after(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match="stopped after 1 of 3 epochs"):
        train_tiny()
