"""Which classes are used, and which of them are look-alikes."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from pokecam.common.errors import InputError, did_you_mean
from pokecam.data.sources.names import normalise_name

# Names that are at least so similar differ by a typing error ("Pikachuu": 0.93, "Gengr": 0.91).
# The names of different species are less similar (Charmander and Charmeleon: 0.7).
_TYPO_SIMILARITY = 0.9


def choose(classes: Sequence[str] | str, available: Iterable[str]) -> list[str]:
    """Select the classes to use.

    Args:
        classes: names of classes, or "all".
        available: the classes of the source.

    Returns:
        The selected classes in the order of `classes`; for "all", all classes of the source,
        sorted.

    Raises:
        InputError: the source does not have a class, a class is listed twice, or there are fewer
            than two classes.
    """
    class_names = sorted(available)
    selected = (
        class_names if isinstance(classes, str) else [normalise_name(name) for name in classes]
    )
    for name in selected:
        if "/" in name:
            raise InputError(
                f"classes: {name} contains a slash: a class is the name of the folder that its "
                f"images lie in, without the folders above it; write "
                f"{name.rpartition('/')[2] or name}"
            )
        if name not in class_names:
            raise InputError(
                f"classes: the source has no {name}.{did_you_mean(name, class_names)} "
                f"It has: {', '.join(class_names)}"
            )
        if selected.count(name) > 1:
            raise InputError(
                f"classes: {name} is listed {selected.count(name)} times: list each class once"
            )
    if len(selected) < 2:
        raise InputError(
            f"classes: at least two are needed, {' '.join(selected) or 'none'} was given; "
            f"the source has: {', '.join(class_names)}"
        )
    return selected


def select_lookalikes(
    lookalikes: Iterable[Sequence[str]], selected: Sequence[str], available: Iterable[str]
) -> list[list[str]]:
    """Reduce groups of look-alikes to the selected classes.

    Names that the source does not have are ignored: the default groups do no harm where users
    have their own images.

    Args:
        lookalikes: groups of classes.
        selected: the selected classes.
        available: the classes of the source.

    Returns:
        The selected classes of each group; groups with fewer than two of them are left out.

    Raises:
        InputError: a name differs from that of a class of the source by a typing error.
    """
    class_names = sorted(available)
    groups = []
    for group in lookalikes:
        names = [normalise_name(name) for name in group]
        for name in set(names).difference(class_names):
            for similar in class_names:
                if _is_typo(name, similar):
                    raise InputError(
                        f"lookalikes: the source has no {name}. Did you mean {similar}?"
                    )
        members = [name for name in dict.fromkeys(names) if name in selected]
        if len(members) > 1:
            groups.append(members)
    return groups


def _is_typo(name: str, class_name: str) -> bool:
    a, b = name.casefold(), class_name.casefold()
    return SequenceMatcher(None, a, b).ratio() >= _TYPO_SIMILARITY
