"""params.schema.json: it is up to date, and refuses in an editor what the stages refuse."""

import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from pokecam.commands import schema
from pokecam.common import params
from pokecam.common.errors import InputError
from tests.conftest import PROJECT

PARAMS = PROJECT / "params.yaml"
COMMITTED = PROJECT / schema.FILE
MODELINE = "# yaml-language-server: $schema=params.schema.json"


def changed(changes):
    """Return the values of params.yaml with changes. The value `...` removes a parameter."""
    values = params.load_yaml(PARAMS.read_text(encoding="utf-8")) | changes
    return {name: value for name, value in values.items() if value is not ...}


def faults(changes):
    """Return which parameters an editor marks. For a fault of the whole file: the message."""
    validator = Draft202012Validator(json.loads(COMMITTED.read_text(encoding="utf-8")))
    errors = validator.iter_errors(changed(changes))
    return [".".join(map(str, error.path)) or error.message for error in errors]


def refused_by_a_stage(tmp_path, changes):
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(changed(changes)), encoding="utf-8")
    try:
        for settings in schema.SETTINGS:
            params.read_params(settings, file, PROJECT / "dvc.yaml")
    except InputError:
        return True
    return False


def test_the_committed_file_is_up_to_date():
    assert COMMITTED.read_text(encoding="utf-8") == schema.text(PARAMS), (
        "run: python -m pokecam schema"
    )


def test_every_parameter_is_in_it_with_the_words_of_params_yaml():
    written = json.loads(COMMITTED.read_text(encoding="utf-8"))
    values = params.load_yaml(PARAMS.read_text(encoding="utf-8"))
    assert set(written["properties"]) == set(written["required"]) == set(values)
    assert all(entry["description"] for entry in written["properties"].values())
    Draft202012Validator.check_schema(written)
    seed = written["properties"]["seed"]
    assert seed["description"].startswith("decides everything random in training")
    assert (seed["minimum"], seed["exclusiveMaximum"]) == (0, 2**31)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"classes": "all", "lookalikes": []},
        {"epochs": 30, "cam_layer": "layer3", "feature_stride": 16},
        {"learning_rate": 1, "backbone": "vit_b_32", "device": "mps"},
        {"source": "/srv/images", "weights": "/srv/a.pth", "freeze": "layer2"},
    ],
)
def test_what_the_stages_take_is_valid(tmp_path, changes):
    assert faults(changes) == []
    assert not refused_by_a_stage(tmp_path, changes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"backbone": "resnet81"}, "backbone"),
        ({"classes": "some"}, "classes"),
        ({"classes": ["Pikachu", True]}, "classes"),
        ({"epochs": 0}, "epochs"),
        ({"feature_stride": 8}, "feature_stride"),
        ({"val_fraction": 1}, "val_fraction"),
        ({"val_fraction": 0}, "val_fraction"),
        ({"image_size": 2048}, "image_size"),
        ({"image_size": "224"}, "image_size"),
        ({"cam_methods": []}, "cam_methods"),
        ({"cam_methods": ["cam", "gradcam"]}, "cam_methods.1"),
        ({"judge_measures": ["beauty"]}, "judge_measures.0"),
        ({"device": "tpu"}, "device"),
        ({"source": ""}, "source"),
        ({"seed": ...}, "'seed' is a required property"),
    ],
)
def test_what_a_stage_refuses_is_no_valid_file(tmp_path, changes, fault):
    assert faults(changes) == [fault]
    assert refused_by_a_stage(tmp_path, changes)


def test_a_misspelt_parameter_is_no_valid_file(tmp_path):
    (fault,) = faults({"epocs": 5})
    assert "'epocs' was unexpected" in fault
    assert refused_by_a_stage(tmp_path, {"epocs": 5})


def test_comments_are_read_beside_values_of_any_kind():
    text = (
        'a: 1   # one\nb:   # a list\n- x  # no name\nc: "a # 1" # text\nd: 2\n# whole line: # no\n'
    )
    assert schema.comments(text) == {"a": "one", "b": "a list", "c": "text"}


@pytest.mark.slow
def test_the_line_for_editors_stays_where_dvc_writes_params_yaml(repository):
    assert PARAMS.read_text(encoding="utf-8").startswith(MODELINE + "\n")
    repository.experiment("judge_images=2")
    written = (repository.path / "params.yaml").read_text(encoding="utf-8")
    assert written.startswith(MODELINE + "\n")
    assert "judge_images: 2" in written
    output = repository.pokecam("schema")
    assert output == f"{schema.FILE}\n"
    assert (repository.path / schema.FILE).read_text(encoding="utf-8") == COMMITTED.read_text(
        encoding="utf-8"
    ), "the schema follows from names and comments, not from values"
