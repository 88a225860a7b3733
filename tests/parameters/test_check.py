"""The check of all parameters: what it refuses, and that it is cheap."""

import subprocess
import sys

import pytest
import yaml

from pokecam.common.errors import InputError
from pokecam.parameters.check import SETTINGS, check_params
from tests.conftest import PROJECT

COMMITTED = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def check(tmp_path, monkeypatch):
    """A function that checks the committed parameters with changes, in the top folder."""
    monkeypatch.chdir(PROJECT)

    def check_changed(**changes: object) -> None:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(COMMITTED | changes), encoding="utf-8")
        check_params(path)

    return check_changed


def test_the_committed_parameters_are_valid(check):
    check()


def test_every_parameter_is_of_some_settings():
    assert {name for settings in SETTINGS for name in settings.model_fields} == set(COMMITTED)


@pytest.mark.parametrize(
    "changes",
    [
        {"judge_measures": []},
        {"lookalikes": [], "classes": "all"},
        {"backbone": "vgg16"},
        {"backbone": "resnet50"},
        {"backbone": "resnet50", "weights": "imagenet"},
        {"backbone": "resnet50", "weights": "none"},
        {"head": "native", "cam_methods": ["grad_cam"]},
        {"head": "native", "backbone": "resnet18"},
        {"source": "datasets/kaggle.yaml"},
        {"source": "docs"},
    ],
    ids=str,
)
def test_what_works_is_not_refused(check, changes):
    check(**changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"device": "gpu"}, "device: 'gpu' is not known."),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "together they must be less than 1"),
        ({"source": "README.md"}, "source README.md is neither a folder, nor"),
        ({"weights": "/no/file.pth"}, "weights: /no/file.pth is neither a file nor one of auto"),
        ({"head": "native"}, "which mobilenet_v3_small with head: native does not have there"),
        ({"cam_methods": ["cam", "cam"]}, "lists cam 2 times"),
        ({"judge_measures": ["sanity", "sanity"]}, "lists sanity 2 times"),
        ({"classes": ["Raichu", "Raichu"]}, "has fewer than two classes"),
        ({"classes": ["Raichu", "Gengar", "Raichu"]}, "lists Raichu 2 times"),
        (
            {"classes": ["Flab\u00e9b\u00e9", "a", "Flabe\u0301be\u0301"]},
            "lists Flab\u00e9b\u00e9 2 times",
        ),
        ({"classes": ["dex/Raichu", "a"]}, "write Raichu"),
        ({"classes": []}, "has fewer than two classes"),
        ({"lookalikes": [["Raichu"], ["Pikachu"]]}, "has the group ['Raichu']"),
        ({"lookalikes": [["Raichu", "Raichu"]]}, "has the group ['Raichu', 'Raichu']"),
        ({"lookalikes": [[]]}, "a group has at least two classes"),
        ({"split_file": "README.md"}, "split_file README.md has no column file"),
        ({"split_file": "nowhere.csv"}, "split_file nowhere.csv is not a file"),
        ({"judge_measures": ["faithfullness"]}, "Did you mean faithfulness?"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(check, changes, expected):
    with pytest.raises(InputError) as error:
        check(**changes)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_it_imports_no_library_that_takes_seconds():
    """It runs whenever a parameter changes."""
    code = (
        "import sys, stages.check\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]"
