"""A network that is trained on shuffled labels."""

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
    """Blue and red images, so that the classes are easy; half of each class is for training."""
    labels = np.arange(N) // 2 % 2
    pixels = np.zeros((N, SIZE_PX, SIZE_PX, 3), np.uint8)
    pixels[labels == 0, ..., 2] = pixels[labels == 1, ..., 0] = 200
    manifest = pd.DataFrame({"file": range(N), "label": [CLASSES[label] for label in labels]})
    absent = dict.fromkeys(("masks", "parts", "boxes", "scenes"))
    return Packed(pixels=pixels, manifest=manifest, classes=CLASSES, **absent)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "none.safetensors"
    pretrained.write_weights(path, {}, backbone="mobilenet_v3_small", weights="none")
    return path


def train(packed, weights, **changes):
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
        Recipe(**recipe | changes),
        torch.device("cpu"),
    )


@pytest.fixture
def fit_calls(monkeypatch):
    """The calls of `training.fit`, which does not train."""
    calls = []

    def fit(network, train, val, recipe, *, pretrained):
        calls.append((network, train, val, recipe, pretrained))
        return pd.DataFrame({"train_accuracy": [0.4, 0.9]})

    monkeypatch.setattr(shuffled_labels, "fit", fit)
    return calls


def test_labels_are_shuffled_and_classes_keep_their_numbers(packed, weights, fit_calls):
    train(packed, weights)
    train(packed, weights)
    train(packed, weights, seed=4)
    (_, train_set, val_set, recipe, is_pretrained), (_, again, *_), (_, other, *_) = fit_calls
    true = ROWS // 2 % 2
    assert np.bincount(train_set.labels).tolist() == np.bincount(true).tolist()
    assert 0.2 < (train_set.labels == true).mean() < 0.8
    np.testing.assert_array_equal(train_set.labels, again.labels)
    assert not np.array_equal(train_set.labels, other.labels)
    np.testing.assert_array_equal(train_set.rows, ROWS)
    np.testing.assert_array_equal(val_set.labels, train_set.labels[: len(val_set)])
    assert (recipe.epochs, is_pretrained, recipe.seed) == (6, False, 3)


def test_there_are_three_times_as_many_epochs(packed, weights, fit_calls):
    train(packed, weights, epochs=None)
    assert fit_calls[0][3].epochs == 3 * 40


def test_the_share_of_memorised_labels_is_logged(packed, weights, fit_calls, caplog):
    train(packed, weights)
    assert "the network has memorised 90 % of the shuffled labels" in caplog.text


def test_the_network_is_the_same_in_every_run(packed, weights):
    first, second = (train(packed, weights, epochs=1) for _ in range(2))
    assert isinstance(first.last_layer, nn.Linear)
    for weights_1, weights_2 in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(weights_1, weights_2)
