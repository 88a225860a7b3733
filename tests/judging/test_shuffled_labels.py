"""A network that is trained on labels that say nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pokecam.data.packed.images import Packed
from pokecam.judging import shuffled_labels
from pokecam.networks import pretrained
from pokecam.training.settings import Recipe, TrainSettings

CLASSES = ["blue", "red"]
N, SIZE_PX = 40, 64
ROWS = np.arange(0, N, 2)


@pytest.fixture(scope="module")
def packed():
    """Red and blue in turns, so that a class is seen at a glance; half of either trains."""
    labels = np.arange(N) // 2 % 2
    pixels = np.zeros((N, SIZE_PX, SIZE_PX, 3), np.uint8)
    pixels[labels == 0, ..., 2] = pixels[labels == 1, ..., 0] = 200
    manifest = pd.DataFrame({"file": range(N), "label": [CLASSES[label] for label in labels]})
    nothing = dict.fromkeys(("masks", "parts", "boxes", "scenes"))
    return Packed(pixels=pixels, manifest=manifest, classes=CLASSES, lookalikes=[], **nothing)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "none.safetensors"
    pretrained.write_weights(path, {}, backbone="mobilenet_v3_small", weights="none")
    return path


def trained(packed, weights, **changed):
    network = {"backbone": "mobilenet_v3_small", "head": "gap", "feature_stride": 32}
    recipe = {
        **{"freeze": "none", "epochs": 2, "batch_size": 8, "learning_rate": 1e-3},
        **{"weight_decay": 0.0, "label_smoothing": 0.0, "zoom_out": 0.0, "seed": 3},
    }
    return shuffled_labels.train(
        packed,
        ROWS,
        weights,
        TrainSettings(**network, device="cpu"),
        Recipe(**recipe | changed),
        torch.device("cpu"),
    )


@pytest.fixture
def asked(monkeypatch):
    """What `training.fit` was asked, instead of training."""
    calls = []

    def fit(network, train, val, recipe, *, pretrained):
        calls.append((network, train, val, recipe, pretrained))
        return pd.DataFrame({"train_accuracy": [0.4, 0.9]})

    monkeypatch.setattr(shuffled_labels, "fit", fit)
    return calls


def test_labels_say_nothing_and_classes_keep_their_numbers(packed, weights, asked):
    trained(packed, weights)
    trained(packed, weights)
    trained(packed, weights, seed=4)
    (_, train, val, recipe, is_pretrained), (_, again, *_), (_, other, *_) = asked
    true = ROWS // 2 % 2
    assert np.bincount(train.labels).tolist() == np.bincount(true).tolist()
    assert 0.2 < (train.labels == true).mean() < 0.8
    np.testing.assert_array_equal(train.labels, again.labels)
    assert not np.array_equal(train.labels, other.labels)
    np.testing.assert_array_equal(train.rows, ROWS)
    np.testing.assert_array_equal(val.labels, train.labels[: len(val)])
    assert (recipe.epochs, is_pretrained, recipe.seed) == (6, False, 3)


def test_it_takes_as_many_epochs_as_there_are_images_to_learn(packed, weights, asked):
    trained(packed, weights, epochs=None)
    assert asked[0][3].epochs == 3 * 40


def test_what_is_known_by_heart_is_told(packed, weights, asked, caplog):
    trained(packed, weights)
    assert "the network has memorised 90 % of the shuffled labels" in caplog.text


def test_the_network_is_the_same_in_every_run(packed, weights):
    first, second = (trained(packed, weights, epochs=1) for _ in range(2))
    assert isinstance(first.last_layer, nn.Linear)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
