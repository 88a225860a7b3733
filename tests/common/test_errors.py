"""Messages about errors that the user can correct."""

from pokecam.cam.methods import METHODS
from pokecam.common.errors import MAX_LISTED, NEW_NAMES, InputError, did_you_mean, unknown_name


def test_nearest_name_ignoring_case():
    assert did_you_mean("pikachuu", ["Pikachu", "Raichu"]) == " Did you mean Pikachu?"
    assert did_you_mean("Snorlax", ["Pikachu", "Raichu"]) == ""


def test_of_many_names_the_nearest_is_enough():
    short, long = ["cat", "dog"], ["cat", *(f"name{i}" for i in range(MAX_LISTED))]
    assert unknown_name("cta", short) == "is not known. Did you mean cat? Allowed: cat, dog"
    assert unknown_name("cta", long) == "is not known. Did you mean cat?"
    assert unknown_name("owl", long) == f"is not known. Allowed: {', '.join(long)}"


def test_a_message_of_another_library_is_passed_on_as_plain_text():
    """Colours, links, titles of a terminal, and what would overwrite the line."""
    error = InputError(
        "a \x1b[1mbold\x1b[0m \x1b]8;;x\x07link\x1b]8;;\x1b\\ \x1b(B\rb \x9b31mc\td\ne"
    )
    assert str(error) == "a bold link  b c d e"
    assert str(InputError("Flabébé → 🐢, 2 × 2")) == "Flabébé → 🐢, 2 × 2"


def test_a_name_of_an_older_version_is_answered_with_the_present_one():
    """Not with the name that looks most like it, which is another method."""
    allowed = ["cam", "finer_cam", "pamr_cam"]
    assert unknown_name("refined_cam", allowed) == "is called pamr_cam now"
    assert unknown_name("refined_cam", ["cam"]) == "is not known. Allowed: cam"
    assert set(NEW_NAMES.values()) <= set(METHODS)
    assert not set(NEW_NAMES) & set(METHODS)
