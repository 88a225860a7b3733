"""Which classes are chosen, and what is said when they do not fit the source."""

import pytest

from pokecam.common.errors import InputError
from pokecam.common.params import read_params
from pokecam.data.packing.classes import alike, choose
from pokecam.data.packing.pack import SelectSettings

KNOWN = ["Raichu", "Pikachu", "Gengar", "Mr. Mime", "Flab\u00e9b\u00e9"]


def test_the_order_given_is_kept_and_all_is_sorted():
    assert choose(["Raichu", "Gengar"], KNOWN) == ["Raichu", "Gengar"]
    assert choose("all", KNOWN) == sorted(KNOWN)


def test_accents_from_either_keyboard():
    assert choose(["Flabe\u0301be\u0301", "Gengar"], KNOWN)[0] == "Flab\u00e9b\u00e9"


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["Pikachuu", "Raichu"], "no Pikachuu. Did you mean Pikachu? It has: "),
        (["pikachu", "Raichu"], "Did you mean Pikachu?"),
        (["Zubat", "Raichu"], "no Zubat. It has: Flab\u00e9b\u00e9, Gengar, Mr. Mime, Pikachu"),
        (["Raichu", "Raichu"], "Raichu is named 2 times"),
        (["Flab\u00e9b\u00e9", "Flabe\u0301be\u0301"], "Flab\u00e9b\u00e9 is named 2 times"),
        (
            ["dex/Raichu", "Gengar"],
            "dex/Raichu holds a slash: a class is the name of the one folder",
        ),
        (["Raichu"], "at least two are needed, Raichu was given"),
        ([], "at least two are needed, none was given"),
    ],
)
def test_classes_that_do_not_fit(classes, told):
    with pytest.raises(InputError) as error:
        choose(classes, KNOWN)
    assert told in str(error.value)


def test_all_of_a_source_with_one_class():
    with pytest.raises(InputError, match="at least two are needed, Ant was given"):
        choose("all", ["Ant"])


def test_lookalikes_are_cut_down_to_the_chosen():
    groups = [["Raichu", "Pikachu", "Gengar"], ["Gengar", "Mr. Mime"], ["Raichu", "Raichu"]]
    assert alike(groups, ["Pikachu", "Raichu"], KNOWN) == [["Raichu", "Pikachu"]]


def test_lookalikes_of_another_source_are_passed_over():
    """The default groups beside one's own images."""
    groups = [["Charmander", "Charmeleon"], ["Squirtle", "Wartortle"]]
    assert alike(groups, ["cat", "dog"], ["cat", "dog", "Charmander"]) == []


@pytest.mark.parametrize("name", ["Pikachuu", "pikachu", "Gengr"])
def test_a_misspelt_lookalike_is_told(name):
    with pytest.raises(InputError, match=f"no {name}. Did you mean (Pikachu|Gengar)?"):
        alike([[name, "Raichu"]], ["Pikachu", "Raichu"], KNOWN)


@pytest.mark.parametrize(
    ("line", "told"),
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
def test_settings_are_checked(tmp_path, line, told):
    good = {"classes": "all", "lookalikes": "[]", "image_size": "224"}
    key, _, value = line.partition(":")
    lines = [f"{k}: {v}" for k, v in (good | {key: value}).items()]
    (tmp_path / "params.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError) as error:
        read_params(SelectSettings, tmp_path / "params.yaml", tmp_path / "dvc.yaml")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_good_settings(tmp_path):
    (tmp_path / "params.yaml").write_text(
        "classes:\n- 'No'\n- Mr. Mime\nlookalikes:\n- - 'No'\n  - Mr. Mime\nimage_size: 96\n"
    )
    settings = read_params(SelectSettings, tmp_path / "params.yaml", tmp_path / "dvc.yaml")
    assert settings.classes == ["No", "Mr. Mime"]
    assert settings.lookalikes == [["No", "Mr. Mime"]]
