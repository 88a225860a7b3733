"""How stages and commands end."""

import pytest

from pokecam.errors import InputError
from pokecam.running import run


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
