"""Errors that the person at the keyboard can mend."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

FEW = 20  # names that a person reads


class InputError(Exception):
    """Something given from outside is wrong; the message is one line that says
    what was given, what was expected and what to do."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean X?" for the allowed name nearest to `given`, or "" if none is near."""
    by_folded = {name.casefold(): name for name in allowed}
    near = get_close_matches(given.casefold(), by_folded, n=1)
    return f" Did you mean {by_folded[near[0]]}?" if near else ""


def unknown_name(given: str, allowed: Collection[str]) -> str:
    """Say that `given` is none of the allowed names, and the nearest of them, or all of them where
    none is near or they are few."""
    near = did_you_mean(given, allowed)
    listed = "" if near and len(allowed) > FEW else f" Allowed: {', '.join(allowed)}"
    return f"is not known.{near}{listed}"
