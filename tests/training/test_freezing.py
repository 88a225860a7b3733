"""Frozen layers do not change in training, and all others do."""

import pytest

from pokecam.common.errors import InputError
from pokecam.networks import classifier
from tests.training.tiny import CLASSES, SIZE_PX, fine_tune, labelled_images, train_tiny


@pytest.mark.parametrize(
    ("freeze", "learning"),
    [("none", ("body", "head")), ("body", ("head",)), ("features.9", ("body.features.1", "head"))],
)
def test_frozen_layers_do_not_change(freeze, learning):
    model = classifier.build_classifier("squeezenet1_1", "gap", CLASSES, SIZE_PX)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    fine_tune(model, labelled_images(6), labelled_images(3), epochs=1, freeze=freeze)
    changed = {name for name, weight in model.named_parameters() if not weight.equal(before[name])}
    assert changed == {name for name in before if name.startswith(learning)}


@pytest.mark.parametrize("pretrained", [True, False])
def test_early_layers_are_frozen_if_they_are_pretrained(pretrained):
    """In squeezenet at 32 px these have maps of 4 px or more: all before the second pooling."""
    model = classifier.build_classifier("squeezenet1_1", "gap", CLASSES, SIZE_PX)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    fine_tune(
        model,
        labelled_images(6),
        labelled_images(3),
        epochs=1,
        freeze="early",
        pretrained=pretrained,
    )
    unchanged = {name for name, weight in model.named_parameters() if weight.equal(before[name])}
    early = tuple(f"body.features.{i}." for i in (0, 3, 4))
    assert unchanged == {name for name in before if pretrained and name.startswith(early)}


def test_running_statistics_of_frozen_layers_do_not_change():
    model = classifier.build_classifier("resnet18", "gap", CLASSES, SIZE_PX)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    fine_tune(model, labelled_images(6), labelled_images(3), epochs=1, freeze="layer2")
    unchanged = {name for name, buffer in model.named_buffers() if buffer.equal(before[name])}
    late = {name for name in before if ".layer3." in name or ".layer4." in name}
    assert unchanged == set(before) - late


def test_a_layer_to_freeze_that_does_not_exist():
    with pytest.raises(InputError, match="freeze: resnet18 has no layer layer9"):
        train_tiny(freeze="layer9")
