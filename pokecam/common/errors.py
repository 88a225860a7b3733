"""Errors that the user can correct."""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

MAX_LISTED = 20  # a longer list of allowed names is shortened to the nearest name
# Names of older versions. RefineCAM (2026) is another method, which would be taken for these.
NEW_NAMES = {"refined_cam": "pamr_cam", "refined_grad_cam": "pamr_grad_cam"}

# The sequences by which a program controls a terminal (ECMA-48), and single control characters.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # a command with numbers, such as a colour
    r"|\x1b[PX\]^_].*?(?:\x1b\\|\x07|\x9c|$)"  # a text for the terminal, such as a link
    r"|\x1b[ -/]*[0-~]",
    flags=re.DOTALL,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def plain_text(text: str) -> str:
    """Return a text without codes for a terminal; other control characters become blanks."""
    return _CONTROL.sub(" ", _ESCAPE.sub("", text))


class InputError(Exception):
    """Wrong input from the user.

    The message is one line that says what was given, what was expected and what to do. It may pass
    on what a library says: codes by which a terminal changes colours or deletes text are removed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(plain_text(message))


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, or the kind of an error without any."""
    lines = str(error).strip().splitlines()
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
        What a name of an older version is called now. Otherwise "is not known.", followed by the
        nearest allowed name, if one is similar, and by the list of all allowed names. The list is
        omitted if it is longer than `MAX_LISTED` and the nearest name is there.
    """
    if NEW_NAMES.get(name) in allowed:
        return f"is called {NEW_NAMES[name]} now"
    hint = did_you_mean(name, allowed)
    listed = "" if hint and len(allowed) > MAX_LISTED else f" Allowed: {', '.join(allowed)}"
    return f"is not known.{hint}{listed}"
