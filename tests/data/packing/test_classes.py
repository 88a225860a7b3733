"""Which classes are selected, and the errors for classes that do not fit the source."""

import pytest

from pokecam.common.errors import InputError
from pokecam.common.params import read_params
from pokecam.data.packing.classes import (
    LookalikeSettings,
    OtherSourceError,
    SelectSettings,
    choose,
    command_for_all,
    select_lookalikes,
)

AVAILABLE = ["Raichu", "Pikachu", "Gengar", "Mr. Mime", "Flab\u00e9b\u00e9"]


def test_the_order_of_the_list_stays_and_all_is_sorted():
    assert choose(["Raichu", "Gengar"], AVAILABLE) == ["Raichu", "Gengar"]
    assert choose("all", AVAILABLE) == sorted(AVAILABLE)


def test_accents_from_either_keyboard():
    settings = SelectSettings(classes=["Flabe\u0301be\u0301", "Gengar"], image_size=64)
    assert choose(settings.classes, AVAILABLE)[0] == "Flab\u00e9b\u00e9"


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["Pikachuu", "Raichu"], "no Pikachuu. Did you mean Pikachu? It has: "),
        (["pikachu", "Raichu"], "Did you mean Pikachu?"),
        (["Zubat", "Raichu"], "no Zubat. It has: Flab\u00e9b\u00e9, Gengar, Mr. Mime, Pikachu"),
    ],
)
def test_classes_that_do_not_fit(classes, expected):
    with pytest.raises(InputError) as error:
        choose(classes, AVAILABLE)
    assert expected in str(error.value)


def test_all_of_a_source_with_one_class():
    with pytest.raises(InputError, match="at least two are needed, the source has Ant"):
        choose("all", ["Ant"])


def test_lookalikes_are_reduced_to_the_selected_classes():
    groups = [["Raichu", "Pikachu", "Gengar"], ["Gengar", "Mr. Mime"], ["Raichu", "Raichu"]]
    assert select_lookalikes(groups, ["Pikachu", "Raichu"], AVAILABLE) == [["Raichu", "Pikachu"]]


def test_lookalikes_that_are_not_chosen_are_named_in_one_line(caplog):
    groups = [["Raichu", "Pikachu"], ["Gengar", "Mr. Mime"], ["Gengar", "Raichu"]]
    assert select_lookalikes(groups, ["Pikachu", "Raichu"], AVAILABLE) == [["Raichu", "Pikachu"]]
    (line,) = caplog.messages
    assert line == "lookalikes: left out, since not in `classes`: Gengar, Mr. Mime"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Pikachuu", "no Pikachuu. Did you mean Pikachu?"),
        ("pikachu", "no pikachu. Did you mean Pikachu?"),
        ("Gengr", "no Gengr. Did you mean Gengar?"),
        ("Charmander", "no Charmander. Name classes of the source, or none: dvc exp run -S"),
    ],
)
def test_a_lookalike_that_the_source_does_not_have_is_an_error(name, expected):
    with pytest.raises(InputError) as error:
        select_lookalikes([["Mr. Mime", "Raichu"], [name, "Raichu"]], ["Raichu"], AVAILABLE)
    assert expected in str(error.value)


def test_a_class_of_another_source_is_told_apart_from_a_misspelt_one():
    with pytest.raises(OtherSourceError) as error:
        choose(["Zubat", "Raichu"], AVAILABLE)
    assert error.value.available == sorted(AVAILABLE)
    with pytest.raises(InputError) as misspelt:
        choose(["Pikachuu", "Raichu"], AVAILABLE)
    assert not isinstance(misspelt.value, OtherSourceError)


@pytest.mark.parametrize(
    ("lookalikes", "end"),
    [
        ([["Pikachu", "Zubat"]], " -S classes=all -S 'lookalikes=[]'"),
        ([["Pikachu", "Raichu"]], " -S classes=all"),
        ([], " -S classes=all"),
    ],
)
def test_the_command_for_all_classes_drops_lookalikes_only_where_they_would_fail(lookalikes, end):
    command = command_for_all("/my images/a.zip", lookalikes, AVAILABLE)
    assert command == f"dvc exp run -S 'source=/my images/a.zip'{end}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("classes: [Pikachu, true]", "classes[1]: True was given"),
        ("classes: [1, 2]", "put quotes around a name"),
        ("classes: Pikachu", "classes: 'Pikachu' is neither a list of class names nor `all`"),
        ("classes:", "classes: None"),
        ("lookalikes: [Pikachu, Raichu]", "lookalikes[0]: 'Pikachu' was given"),
        ("lookalikes: [[Pikachu, null]]", "put quotes around a name"),
        ("image_size: 0", "image_size: 0 was given"),
        ("image_size: 224.5", "image_size: 224.5 was given"),
    ],
)
def test_settings_are_checked(tmp_path, line, expected):
    good = {"classes": "all", "lookalikes": "[]", "image_size": "224"}
    key, _, value = line.partition(":")
    lines = [f"{k}: {v}" for k, v in (good | {key: value}).items()]
    (tmp_path / "params.yaml").write_text("\n".join(lines))
    settings = LookalikeSettings if key == "lookalikes" else SelectSettings
    with pytest.raises(InputError) as error:
        read_params(settings, tmp_path / "params.yaml", tmp_path / "dvc.yaml")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_good_settings(tmp_path):
    (tmp_path / "params.yaml").write_text(
        "classes:\n- 'No'\n- Mr. Mime\nlookalikes:\n- - 'No'\n  - Mr. Mime\nimage_size: 96\n"
    )
    paths = tmp_path / "params.yaml", tmp_path / "dvc.yaml"
    assert read_params(SelectSettings, *paths).classes == ["No", "Mr. Mime"]
    assert read_params(LookalikeSettings, *paths).lookalikes == [["No", "Mr. Mime"]]
