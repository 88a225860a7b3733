"""Which classes to use, and which of them look alike."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from pokecam.common.errors import InputError, did_you_mean
from pokecam.data.sources.names import one_form

# Two names as close as this differ by a typing error ("Pikachuu" 0.93, "Gengr" 0.91); names of
# different species do not come near (Charmander and Charmeleon: 0.7).
_TYPO = 0.9


def choose(classes: Sequence[str] | str, available: Iterable[str]) -> list[str]:
    """Return the classes to use, in the order given; for "all", every one of the source, sorted.

    Raises `InputError` for a class that the source does not have, one named twice, and fewer
    than two.
    """
    known = sorted(available)
    chosen = known if isinstance(classes, str) else [one_form(name) for name in classes]
    for name in chosen:
        if "/" in name:
            raise InputError(
                f"classes: {name} holds a slash: a class is the name of the one folder that its "
                f"images lie in, here {name.rpartition('/')[2] or name}, whatever is above it"
            )
        if name not in known:
            raise InputError(
                f"classes: the source has no {name}.{did_you_mean(name, known)} "
                f"It has: {', '.join(known)}"
            )
        if chosen.count(name) > 1:
            raise InputError(f"classes: {name} is named {chosen.count(name)} times: once is enough")
    if len(chosen) < 2:
        raise InputError(
            f"classes: at least two are needed, {' '.join(chosen) or 'none'} was given; "
            f"the source has: {', '.join(known)}"
        )
    return chosen


def alike(
    lookalikes: Iterable[Sequence[str]], chosen: Sequence[str], available: Iterable[str]
) -> list[list[str]]:
    """Return the look-alike groups cut down to the chosen classes; those below two are dropped.

    Names that the source does not have are passed over, so that the default groups do no harm
    beside one's own images; a name that is almost one of the source's raises `InputError`.
    """
    known = sorted(available)
    found = []
    for group in lookalikes:
        names = [one_form(name) for name in group]
        for name in set(names).difference(known):
            for near in known:
                if _is_typo(name, near):
                    raise InputError(f"lookalikes: the source has no {name}. Did you mean {near}?")
        left = [name for name in dict.fromkeys(names) if name in chosen]
        if len(left) > 1:
            found.append(left)
    return found


def _is_typo(given: str, known: str) -> bool:
    a, b = given.casefold(), known.casefold()
    return SequenceMatcher(None, a, b).ratio() >= _TYPO
