"""What is measured at the end of a training."""

import numpy as np
import torch

from pokecam.networks.classifier import prepare
from pokecam.training import distances
from pokecam.training.distances import measure_distances
from tests.training.tiny import labelled_images, tiny_classifier


def pooled(model, images, positions):
    """The pooled features of some images of a set, computed without a hook."""
    pixels = torch.from_numpy(images.pixels[images.rows[positions]])
    with torch.no_grad():
        return model.eval().body(prepare(pixels)).mean(dim=(2, 3))


def test_means_are_of_training_and_distances_of_validation_images():
    model, train, val = tiny_classifier(), labelled_images(12), labelled_images(6, seed=1)
    measured = measure_distances(model, train, val)
    means = torch.stack(
        [pooled(model, train, np.flatnonzero(train.labels == c)).mean(dim=0) for c in range(3)]
    )
    torch.testing.assert_close(measured.means, means)
    cosines = torch.nn.functional.cosine_similarity(
        pooled(model, val, np.arange(6))[:, None], means[None], dim=2
    )
    expected = (1 - cosines.max(dim=1).values).sort().values
    torch.testing.assert_close(measured.validation, expected, rtol=0, atol=1e-6)


def test_the_first_images_of_each_class_are_enough(monkeypatch):
    """Labels go round, so the first two of each of three classes are the first six images."""
    monkeypatch.setattr(distances, "MOST_PER_CLASS", 2)
    model, val = tiny_classifier(), labelled_images(6, seed=1)
    measured = measure_distances(model, labelled_images(12), val)
    first = pooled(model, labelled_images(12), np.array([1, 4])).mean(dim=0)
    torch.testing.assert_close(measured.means[1], first)


def test_an_image_unlike_all_classes_is_farther_than_the_validation_images():
    """The classes are three colours; the other image is a checkerboard of black and white."""
    model, train = tiny_classifier(), labelled_images(24)
    measured = measure_distances(model, train, labelled_images(12, seed=1))
    pixels = np.zeros((1, *train.pixels.shape[1:]), np.uint8)
    pixels[0, ::2, ::2] = pixels[0, 1::2, 1::2] = 255
    with torch.no_grad():
        inputs = model.eval().last_inputs(prepare(torch.from_numpy(pixels)))
    assert measured.n_nearer(inputs) == [12]
