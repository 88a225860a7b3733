"""Groups of trainings: experiments that differ in nothing but their seeds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pokecam.commands.compare.experiments import Experiment, experiment_names, read_experiment
from pokecam.common.errors import InputError, unknown_name

SEEDS = ("seed", "split_seed")  # what may differ within a group


@dataclass(frozen=True)
class Group:
    """Trainings that differ in `SEEDS` only, or a single one.

    Attributes:
        name: as the user typed it.
        experiments: its trainings, at least one.
    """

    name: str
    experiments: list[Experiment]

    @property
    def title(self) -> str:
        """The title of the method."""
        return self.experiments[0].title

    @property
    def seeds(self) -> list[tuple[int, ...]]:
        """The values of `SEEDS` of each training."""
        return [tuple(e.params[name] for name in SEEDS) for e in self.experiments]

    def values(self, name: str) -> list[int]:
        """Return the different values of one of `SEEDS`, in ascending order."""
        return sorted({e.params[name] for e in self.experiments})


def read_groups(arguments: Sequence[str], repository: Path) -> list[Group]:
    """Read the experiments that each argument names.

    Args:
        arguments: `NAMES` or `NAMES:METHOD`. NAMES has one or more revisions or patterns of names
            of experiments, with commas between them.
        repository: the folder of the project.

    Raises:
        InputError: a name is empty, a pattern has no experiment, an experiment cannot be read,
            trainings of one group differ in more than `SEEDS`, a training occurs twice, or one is
            of a version without the measures of parts that trainings are compared by.
    """
    groups = [_read_group(argument, repository) for argument in arguments]
    if any(len(group.experiments) > 1 for group in groups):
        _check_trainings(groups)
    return groups


def expand(names: str, existing: Sequence[str]) -> list[str]:
    """Return the revisions and experiments of a list with patterns, each once.

    Args:
        names: with commas between them. `*` stands for any characters, and `?` for one.
        existing: the names of all experiments.

    Raises:
        InputError: a name is empty, or a pattern has no experiment.
    """
    revisions: list[str] = []
    for name in names.split(","):
        if not name:
            raise InputError(f"{names!r}: a name is empty; give names with one comma between two")
        if not _is_pattern(name):
            revisions.append(name)
            continue
        pattern = name.replace("[", "[[]")  # a bracket stands for itself
        matches = [e for e in existing if fnmatchcase(e, pattern)]
        if not existing:
            raise InputError(f"{name}: there is no experiment yet; `dvc exp run` makes one")
        if not matches:
            raise InputError(f"{name}: such an experiment {unknown_name(name, existing)}")
        revisions += sorted(matches, key=_natural_key)
    return list(dict.fromkeys(revisions))


def _read_group(argument: str, repository: Path) -> Group:
    names, colon, method = argument.partition(":")
    if "," in method:
        raise InputError(f"{argument}: a group has one method, which stands at its end")
    has_pattern = any(map(_is_pattern, names.split(",")))
    revisions = expand(names, experiment_names(repository) if has_pattern else [])
    experiments = [read_experiment(f"{name}{colon}{method}", repository) for name in revisions]
    _check_same_but_for_seeds(argument, experiments)
    return Group(argument, experiments)


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _natural_key(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts seed-2 before seed-10."""
    pieces = re.split(r"(\d+)", name)
    return [(p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces]


def _check_same_but_for_seeds(argument: str, experiments: Sequence[Experiment]) -> None:
    first = experiments[0]
    for other in experiments[1:]:
        names = sorted(
            name
            for name in first.params.keys() | other.params.keys()
            if name not in SEEDS and first.params.get(name) != other.params.get(name)
        )
        if names:
            raise InputError(
                f"{argument}: {first.name} and {other.name} differ in {', '.join(names)}, but "
                f"trainings of one group differ in {' or '.join(SEEDS)} only: give those that "
                "differ in more as another argument"
            )


def _check_trainings(groups: Sequence[Group]) -> None:
    """Check that trainings can be observations: each occurs once, and has all figures."""
    name_of: dict[tuple, str] = {}
    for group in groups:
        for experiment, seeds in zip(group.experiments, group.seeds, strict=True):
            if "part_baselines" not in experiment.judgement.about:
                raise InputError(
                    f"{experiment.name} comes from an older version of PokeCAM: run it again, "
                    "or compare single experiments"
                )
            rest = sorted((k, str(v)) for k, v in experiment.params.items() if k not in SEEDS)
            key = (experiment.method, seeds, tuple(rest))
            if key in name_of:
                raise InputError(
                    f"{name_of[key]} and {experiment.name} have the same parameters and seeds, so "
                    "they are one training: leave one of them out"
                )
            name_of[key] = experiment.name
