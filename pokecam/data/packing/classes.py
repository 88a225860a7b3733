"""Which classes are used, and which of them are look-alikes."""

import logging
import shlex
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pokecam.common.errors import InputError, did_you_mean
from pokecam.common.params import Settings, no_duplicates
from pokecam.data.sources.names import normalise_name

Groups = Iterable[Sequence[str]]

log = logging.getLogger(__name__)


def _check_names_or_all(value: object) -> object:
    if isinstance(value, str) and value != "all":
        raise ValueError("is neither a list of class names nor `all`")
    return value


def _check_names(names: list[str]) -> list[str]:
    """Check what the names of chosen classes alone can tell."""
    names = [normalise_name(name) for name in names]
    for name in names:
        if "/" in name:
            raise ValueError(
                f"has {name} with a slash: a class is the name of the folder that its images lie "
                f"in, without the folders above it; write {name.rpartition('/')[2] or name}"
            )
    if len(set(names)) < 2:
        raise ValueError("has fewer than two classes: at least two are needed")
    return no_duplicates(names)


def _check_groups(groups: list[list[str]]) -> list[list[str]]:
    for group in groups:
        if len({normalise_name(name) for name in group}) < 2:
            raise ValueError(
                f"has the group {group}: a group has at least two classes, as in [[cat, lynx]]"
            )
    return groups


class SelectSettings(Settings):
    """The parameters of the select stage; params.yaml explains each."""

    classes: Annotated[
        Annotated[list[str], AfterValidator(_check_names)] | Literal["all"],
        BeforeValidator(_check_names_or_all),
    ]
    image_size: Annotated[int, Field(ge=64, le=1024)]


class LookalikeSettings(Settings):
    """Groups of classes that are easily confused, as in `select_lookalikes`."""

    lookalikes: Annotated[list[list[str]], AfterValidator(_check_groups)]


class OtherSourceError(InputError):
    """A chosen class is not in the source, and no class of the source has a similar name.

    Attributes:
        available: the classes of the source.
    """

    def __init__(self, message: str, available: Sequence[str]) -> None:
        super().__init__(message)
        self.available = available


def choose(classes: Sequence[str] | str, available: Iterable[str]) -> list[str]:
    """Select the classes to use.

    Args:
        classes: names of classes as `SelectSettings` has them, or "all".
        available: the classes of the source.

    Returns:
        The selected classes in the order of `classes`; for "all", all classes of the source,
        sorted.

    Raises:
        InputError: the source does not have a class, or fewer than two. It is an
            `OtherSourceError` if no class has a similar name.
    """
    class_names = sorted(available)
    selected = class_names if isinstance(classes, str) else list(classes)
    for name in selected:
        if name not in class_names:
            hint = did_you_mean(name, class_names)
            message = f"classes: the source has no {name}.{hint} It has: {', '.join(class_names)}"
            raise InputError(message) if hint else OtherSourceError(message, class_names)
    if len(selected) < 2:
        raise InputError(
            f"classes: at least two are needed, the source has {' '.join(selected) or 'none'}"
        )
    return selected


def select_lookalikes(
    lookalikes: Groups, selected: Sequence[str], available: Iterable[str]
) -> list[list[str]]:
    """Reduce groups of look-alikes to the selected classes, and name the classes left out.

    Args:
        lookalikes: groups of classes.
        selected: the selected classes.
        available: the classes of the source.

    Returns:
        The selected classes of each group; groups with fewer than two of them are left out.

    Raises:
        InputError: the source does not have a class.
    """
    class_names = sorted(available)
    if missing := unknown_lookalikes(lookalikes, class_names):
        raise InputError(
            f"lookalikes: the source has no {missing[0]}.{did_you_mean(missing[0], class_names)} "
            f"Name classes of the source, or none: dvc exp run -S 'lookalikes=[]'. "
            f"It has: {', '.join(class_names)}"
        )
    groups = [list(dict.fromkeys(map(normalise_name, group))) for group in lookalikes]
    unselected = {name: None for group in groups for name in group if name not in selected}
    if unselected:
        log.warning("lookalikes: left out, since not in `classes`: %s", ", ".join(unselected))
    members = [[name for name in group if name in selected] for group in groups]
    return [group for group in members if len(group) > 1]


def unknown_lookalikes(lookalikes: Groups, available: Iterable[str]) -> list[str]:
    """Return the look-alikes that are no classes of the source."""
    names = dict.fromkeys(normalise_name(name) for group in lookalikes for name in group)
    return [name for name in names if name not in set(available)]


def command_for_all(source: str, lookalikes: Groups, available: Iterable[str]) -> str:
    """Return the command that uses all classes of a source.

    Args:
        source: as in params.yaml.
        lookalikes: as in params.yaml. The command sets them to none if the source does not have
            them.
        available: the classes of the source.
    """
    changes = [f"source={source}", "classes=all"]
    if unknown_lookalikes(lookalikes, available):
        changes.append("lookalikes=[]")
    return " ".join(["dvc exp run", *(f"-S {shlex.quote(change)}" for change in changes)])
