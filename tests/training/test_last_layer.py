"""The fit of the last layer, compared with scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from pokecam.training import last_layer


def labelled_inputs(seed=0):
    """Inputs (30, 5) of three classes with 5, 10 and 15 of them, and their labels (30,)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [5, 10, 15])
    x = rng.normal(labels[:, None] * [1, -1, 0, 0.5, 0], [1, 2, 1, 0.5, 3]) * 7 + 2
    return torch.from_numpy(x).float(), torch.from_numpy(labels)


def test_the_last_layer_is_fitted_as_scikit_learn_fits_it():
    x, labels = labelled_inputs()
    layer = nn.Linear(5, 3)
    counts = np.bincount(labels)
    weights = torch.from_numpy(len(labels) / (3 * counts)).float()
    loss = nn.CrossEntropyLoss(weights)
    last_layer.fit_linear(layer, x, labels, loss)
    with torch.no_grad():
        probabilities = layer(x).softmax(dim=1).numpy()
    z = ((x - x.mean(dim=0)) / x.std(dim=0, correction=0)).numpy()
    # scikit-learn adds up the losses of all images and multiplies the sum by C.
    reference = LogisticRegression(
        C=1 / (last_layer.RIDGE * len(x)), class_weight="balanced", tol=1e-8, max_iter=1000
    ).fit(z, labels.numpy())
    assert probabilities == pytest.approx(reference.predict_proba(z), abs=1e-3)


def test_an_input_that_hardly_varies_gets_no_exploding_weight():
    """Without `LEAST_SPREAD`, an input of spread 1e-6 would get a weight of a million."""
    x, labels = labelled_inputs()
    x[:, 0] *= 1e-6
    layer = nn.Linear(5, 3)
    last_layer.fit_linear(layer, x, labels, nn.CrossEntropyLoss())
    assert layer.weight[:, 0].abs().max() < layer.weight.abs().max()
