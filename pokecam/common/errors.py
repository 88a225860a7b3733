"""Errors that the user can correct."""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

_ESCAPE_CODE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

MAX_LISTED = 20  # a longer list of allowed names is shortened to the nearest name


class InputError(Exception):
    """Wrong input from the user.

    The message is one line that says what was given, what was expected and what to do.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of another program's message, without escape codes for terminals."""
    lines = _ESCAPE_CODE.sub("", str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return a hint that names the allowed name nearest to `name`.

    Args:
        name: what the user wrote.
        allowed: the names that are valid. Case is ignored in the comparison.

    Returns:
        " Did you mean X?", or "" if no allowed name is similar.
    """
    by_folded = {allowed_name.casefold(): allowed_name for allowed_name in allowed}
    nearest = get_close_matches(name.casefold(), by_folded, n=1)
    return f" Did you mean {by_folded[nearest[0]]}?" if nearest else ""


def unknown_name(name: str, allowed: Collection[str]) -> str:
    """Return the end of a message that says that `name` is not allowed.

    Args:
        name: what the user wrote.
        allowed: the names that are valid.

    Returns:
        "is not known.", followed by the nearest allowed name, if one is similar, and by the list of
        all allowed names. The list is omitted if it is longer than `MAX_LISTED` and the nearest
        name is there.
    """
    hint = did_you_mean(name, allowed)
    listed = "" if hint and len(allowed) > MAX_LISTED else f" Allowed: {', '.join(allowed)}"
    return f"is not known.{hint}{listed}"
