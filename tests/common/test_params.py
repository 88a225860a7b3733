"""The strict reader of params.yaml: names, types, ranges, and the pitfalls of YAML."""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from dvc.utils.serialize import modify_yaml
from pydantic import Field

from pokecam.common.errors import InputError
from pokecam.common.params import Settings, load_yaml, one_of, read_all_params, read_params


class Example(Settings):
    rate: Annotated[float, Field(gt=0)]
    epochs: Annotated[int, Field(ge=1)] | None
    head: Literal["gap", "native"]
    names: list[str]
    animal: Annotated[str, one_of(["cat", "dog"])]


GOOD = {
    "rate": "0.1",
    "epochs": "3",
    "head": "gap",
    "names": "[a, b]",
    "animal": "cat",
}


def write(folder: Path, **changed: str | None) -> Path:
    path = folder / "params.yaml"
    lines = {key: value for key, value in (GOOD | changed).items() if value is not None}
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return path


def refusal(folder: Path, **changed: str | None) -> str:
    with pytest.raises(InputError) as caught:
        read_params(Example, write(folder, **changed), pipeline=folder / "none.yaml")
    return str(caught.value)


def test_good_values_arrive_unchanged(tmp_path):
    settings = read_params(Example, write(tmp_path), pipeline=tmp_path / "none.yaml")
    assert settings.model_dump() == {
        "rate": 0.1,
        "epochs": 3,
        "head": "gap",
        "names": ["a", "b"],
        "animal": "cat",
    }


def test_settings_cannot_be_changed(tmp_path):
    settings = read_params(Example, write(tmp_path), pipeline=tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="frozen"):
        settings.rate = 1.0


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("1", 1.0), ("2.5E+1", 25.0)])
def test_numbers_in_every_spelling(tmp_path, text, value):
    settings = read_params(Example, write(tmp_path, rate=text), pipeline=tmp_path / "none.yaml")
    assert settings.rate == value


AWKWARD = "No yes on off y n 1 1e3 1e-3 .5 1. 007 0o17 0x1F 1_000 12:30 2024-01-01 null ~ = << .inf"


@pytest.mark.parametrize("name", [*AWKWARD.split(), "", " a", "a ", "a: b", "a #b", "- a", "$x$"])
def test_names_come_back_as_dvc_writes_them(tmp_path, name):
    """`dvc exp run -S` rewrites params.yaml as YAML 1.2, in which No needs no quotes."""
    (tmp_path / "params.yaml").write_text("classes: [a, b]\n")
    with modify_yaml(tmp_path / "params.yaml") as values:
        values["classes"] = [name, "b"]
    assert read_all_params(tmp_path / "params.yaml", tmp_path / "none") == {"classes": [name, "b"]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("No", "No"),
        ("off", "off"),
        ("12:30", "12:30"),
        ("007", 7),
        ("2024-01-01", date(2024, 1, 1)),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("-12", -12),
        ("0x1F", 31),
        ("0o17", 15),
        ("TRUE", True),
        ("Null", None),
        ("", None),
        ("'1e-3'", "1e-3"),
    ],
)
def test_values_have_the_types_of_yaml_1_2(text, value):
    loaded = load_yaml(f"a: {text}")["a"]
    assert loaded == value
    assert type(loaded) is type(value)


def test_null_where_it_is_allowed(tmp_path):
    settings = read_params(Example, write(tmp_path, epochs="null"), pipeline=tmp_path / "none.yaml")
    assert settings.epochs is None


def test_out_of_range_names_key_value_and_bound(tmp_path):
    message = refusal(tmp_path, rate="0")
    assert "rate: 0 was given, greater than 0 is needed" in message


@pytest.mark.parametrize("rate", [".inf", ".nan", "1e999", "-.inf"])
def test_numbers_are_finite(tmp_path, rate):
    assert "rate: " in refusal(tmp_path, rate=rate)


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_a_mark_at_the_start_and_other_ends_of_lines_change_nothing(tmp_path, mark, end):
    path = write(tmp_path, rate="0.5")
    path.write_bytes((mark + path.read_text().replace("\n", end)).encode())
    assert read_params(Example, path, pipeline=tmp_path / "none.yaml").rate == 0.5


def test_wrong_type_names_key_and_value(tmp_path):
    message = "epochs: 'many' was given, a valid integer or null is needed"
    assert message in refusal(tmp_path, epochs="many")
    assert "epochs: 2.5 was given" in refusal(tmp_path, epochs="2.5")


def test_true_is_not_the_number_one(tmp_path):
    assert "epochs: True was given" in refusal(tmp_path, epochs="true")


def test_literal_lists_what_is_allowed(tmp_path):
    message = refusal(tmp_path, head="gpa")
    assert "head: 'gpa'" in message
    assert "'gap' or 'native'" in message


def test_choice_from_a_table_suggests_the_nearest(tmp_path):
    message = refusal(tmp_path, animal="dgo")
    assert "animal: 'dgo' is not known. Did you mean dog? Allowed: cat, dog" in message


@pytest.mark.parametrize(
    ("text", "value"), [("true", "True"), ("007", "7"), ("2024-01-01", "date")]
)
def test_a_value_of_yaml_in_place_of_a_name_asks_for_quotes(tmp_path, text, value):
    message = refusal(tmp_path, names=f"[{text}, b]")
    assert f"names[0]: {value}" in message.replace("datetime.", "")
    assert "quotes" in message


def test_missing_key(tmp_path):
    assert "head is missing" in refusal(tmp_path, head=None)


@pytest.fixture
def pipeline(tmp_path) -> Path:
    path = tmp_path / "dvc.yaml"
    stages = {
        "one": {"cmd": "x", "params": [*GOOD, {"params.yaml": None}]},
        "other": {"cmd": "x", "params": ["colour"]},
        "bare": {"cmd": "x"},
    }
    path.write_text(yaml.safe_dump({"stages": stages}))
    return path


def test_a_key_that_no_stage_uses_is_refused_with_the_nearest(tmp_path, pipeline):
    with pytest.raises(InputError, match=r"epocs is not a parameter\. Did you mean epochs\?"):
        read_params(Example, write(tmp_path, epocs="3"), pipeline=pipeline)
    with pytest.raises(InputError, match="epocs is not a parameter"):
        read_all_params(write(tmp_path, epocs="3"), pipeline=pipeline)


def test_keys_of_other_stages_are_known_through_the_pipeline(tmp_path, pipeline):
    assert read_params(Example, write(tmp_path, colour="red"), pipeline=pipeline).rate == 0.1


def test_messages_are_one_line(tmp_path):
    assert all("\n" not in refusal(tmp_path, **{key: "[1, {}]"}) for key in GOOD)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a\n- b\n", "must be a list of lines"),
        ("", "must be a list of lines"),
        ("1: a\n", "must be a list of lines"),
        ("a: [1\n", "not valid YAML"),
        ("a: 1\na: 2\n", "found duplicate key"),
        ("? [a]\n: 1\n", "must be a list of lines"),
        ("a: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
        ("a: 1\0", "not valid YAML"),
    ],
)
def test_files_that_are_no_parameters(tmp_path, text, reason):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_all_params(path)


def test_a_missing_file_and_bytes_that_are_no_text(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_all_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_all_params(tmp_path / "params.yaml")


def test_yaml_never_builds_python_objects(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError, match="not valid YAML"):
        read_all_params(path)


def test_null_is_offered_for_the_whole_value_only(tmp_path):
    class Lists(Settings):
        sizes: list[int] | None

    path = tmp_path / "params.yaml"
    for text, message in (
        ("[a]", r"sizes\[0\]: 'a' .* integer is needed$"),
        ("a", "list or null is"),
    ):
        path.write_text(f"sizes: {text}\n")
        with pytest.raises(InputError, match=message):
            read_params(Lists, path, pipeline=tmp_path / "none.yaml")
