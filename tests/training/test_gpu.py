"""A whole training on a GPU. Without one, on tensors without values."""

import pytest
import torch

from pokecam.training import trainer
from tests.support.fake_gpu import fake_gpu, needs_gpu, on_gpu
from tests.training.stand_in import StandIn
from tests.training.tiny import fine_tune, labelled_images, tiny_classifier

pytestmark = pytest.mark.usefixtures("uncalibrated")


def train_on_gpu(model, **changes):
    return fine_tune(model, labelled_images(22), labelled_images(9, seed=1), epochs=4, **changes)


@pytest.mark.parametrize("freeze", ["none", "body"])
@pytest.mark.parametrize("pretrained", [True, False])
def test_everything_in_a_training_is_on_the_gpu(monkeypatch, pretrained, freeze):
    graphs = StandIn()
    monkeypatch.setattr(trainer, "Graphs", lambda: graphs)
    with fake_gpu() as waits:
        history = train_on_gpu(on_gpu(tiny_classifier), pretrained=pretrained, freeze=freeze)
    assert len(history) == 4
    assert (graphs.captures, graphs.replays) == (2, 4 * 3 - 3)
    # Losses and hits of three steps are read at the end of an epoch.
    assert waits.reads == 4 * (3 + 1)
    # Once, all images and labels go to the GPU, and in each epoch only its plan.
    assert len([shape for _, shape in waits.copies if shape == (22, 32, 32, 3)]) == 1
    assert len(waits.copies) < 80


def test_images_that_memory_does_not_hold_are_copied_step_by_step(caplog):
    with fake_gpu(free_bytes=1000) as waits:
        train_on_gpu(on_gpu(tiny_classifier))
    assert "its memory does not hold all training images" in caplog.text
    steps = [shape[0] for _, shape in waits.copies if shape[1:] == (32, 32, 3)]
    # One pass for the last layer and four epochs. (Validation copies images in another layout.)
    assert sorted(steps) == sorted(5 * [7, 7, 8])


@needs_gpu
def test_losses_are_those_of_the_cpu():
    histories = [train_on_gpu(tiny_classifier().to(device)) for device in ("cpu", "cuda")]
    expected, actual = (history.train_loss.to_numpy() for history in histories)
    assert actual == pytest.approx(expected, rel=0.03)  # bfloat16


@needs_gpu
def test_two_trainings_end_in_the_same_bits(caplog):
    models = [tiny_classifier().to("cuda") for _ in range(2)]
    for model in models:
        train_on_gpu(model)
    assert "one operation at a time" not in caplog.text
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
