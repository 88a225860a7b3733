"""The distance to the nearest class, by hand, and as part of a model file."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pokecam.common.errors import InputError
from pokecam.networks import classifier, safetensors_file
from pokecam.networks.class_distances import ClassDistances
from tests.support.networks import backbone_parameters, size_px

CLASSES = ("Ant", "Bee", "Cat")


def by_hand():
    """Class means (2, 0) and (0, 3), and validation images at distances 0, 0.2 and 0.4."""
    inputs = torch.tensor([[1.0, 0], [3, 0], [0, 3]])
    validation = torch.tensor([[3.0, 4], [4, -3], [0, 9]])
    return ClassDistances.measure(inputs, torch.tensor([0, 0, 1]), validation, n_classes=2)


def test_means_and_distances_by_hand():
    distances = by_hand()
    assert distances.means.tolist() == [[2, 0], [0, 3]]
    assert distances.validation.tolist() == pytest.approx([0, 0.2, 0.2], abs=1e-6)


def test_a_distance_does_not_depend_on_the_size_of_the_inputs():
    inputs = torch.tensor([[1.0, 1], [5, 5], [-1, 0], [0, 0]])
    expected = [1 - 0.5**0.5, 1 - 0.5**0.5, 1, 1]
    assert by_hand().of(inputs).tolist() == pytest.approx(expected, abs=1e-6)


def test_how_many_validation_images_are_nearer_by_hand():
    distances = ClassDistances(torch.eye(2), torch.tensor([0.1, 0.25, 0.25, 0.4]))
    # Of cosines 1, 0.8, 0.6 and −1 to the nearest mean.
    inputs = torch.tensor([[1.0, 0], [-0.6, 0.8], [-0.8, 0.6], [-1, -1e-9]])
    assert distances.n_nearer(inputs) == [0, 1, 3, 4]


@given(arrays.arrays(np.float32, (7, 4), elements=st.floats(0, 10, width=16)))
def test_a_validation_image_has_its_own_rank(validation):
    """The number of nearer images is its position among the sorted distances."""
    validation = torch.from_numpy(validation)
    distances = ClassDistances.measure(torch.eye(4), torch.arange(4), validation, n_classes=4)
    own = distances.of(validation)
    expected = [int((own < distance).sum()) for distance in own]
    assert distances.n_nearer(validation) == expected
    assert min(expected) == 0
    assert max(expected) < 7


def test_a_class_without_training_images_is_far_from_everything():
    distances = ClassDistances.measure(torch.ones(1, 2), torch.tensor([1]), torch.ones(1, 2), 2)
    assert distances.of(torch.tensor([[1.0, 1]])).tolist() == pytest.approx([0], abs=1e-6)


@pytest.mark.parametrize("head", classifier.HEADS)
@pytest.mark.parametrize("backbone", backbone_parameters())
def test_every_network_has_inputs_of_its_last_layer(backbone, head):
    torch.manual_seed(0)
    side = size_px(backbone)
    model = classifier.build_classifier(backbone, head, CLASSES, side).eval()
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        inputs, logits = model.last_inputs(x), model(x)
        layer = model.last_layer
        assert inputs.shape == (2, layer.weight.shape[1])
        if isinstance(layer, torch.nn.Linear):
            torch.testing.assert_close(layer(inputs), logits, rtol=1e-4, atol=1e-5)
    assert not layer._forward_pre_hooks


def saved(tmp_path, distances):
    torch.manual_seed(0)
    model = classifier.build_classifier("squeezenet1_1", "gap", CLASSES, 64)
    model.distances = distances
    classifier.save_classifier(model, tmp_path / "a.safetensors", weights="none")
    return tmp_path / "a.safetensors"


def test_the_file_has_the_distances(tmp_path):
    distances = ClassDistances(torch.rand(3, 512), torch.rand(5).sort().values)
    path = saved(tmp_path, distances)
    loaded = classifier.load_classifier(path).distances
    assert torch.equal(loaded.means, distances.means)
    assert torch.equal(loaded.validation, distances.validation)
    first = path.read_bytes()
    classifier.save_classifier(classifier.load_classifier(path), path, weights="none")
    assert path.read_bytes() == first


def test_an_old_file_has_none_and_is_read(tmp_path):
    assert classifier.load_classifier(saved(tmp_path, None)).distances is None


def test_distances_of_another_network_are_refused(tmp_path):
    path = saved(tmp_path, ClassDistances(torch.rand(2, 512), torch.rand(5)))
    assert "distances.means" in safetensors_file.read_safetensors(path)[0]
    with pytest.raises(InputError, match="of another network"):
        classifier.load_classifier(path)


def test_another_body_and_head_keep_the_distances():
    model = classifier.build_classifier("squeezenet1_1", "gap", CLASSES, 64)
    model.distances = by_hand()
    assert model.with_halves(model.body, model.head).distances is model.distances
