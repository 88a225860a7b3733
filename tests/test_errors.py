"""How a fault that the user can mend is told."""

import pytest

from pokecam.errors import InputError, did_you_mean, run


def test_nearest_name_ignoring_case():
    assert did_you_mean("pikachuu", ["Pikachu", "Raichu"]) == " Did you mean Pikachu?"
    assert did_you_mean("Snorlax", ["Pikachu", "Raichu"]) == ""


def test_input_error_is_one_line_and_exit_code_one(capsys):
    def main():
        raise InputError("first\n  second")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == "error: first second"


def test_defects_keep_their_traceback():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)
