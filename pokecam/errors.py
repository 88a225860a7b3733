"""Errors that the person at the keyboard can mend."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(Exception):
    """Something given from outside is wrong; the message is one line that says
    what was given, what was expected and what to do."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean X?" for the allowed name nearest to `given`, or "" if none is near."""
    by_folded = {name.casefold(): name for name in allowed}
    near = get_close_matches(given.casefold(), by_folded, n=1)
    return f" Did you mean {by_folded[near[0]]}?" if near else ""
