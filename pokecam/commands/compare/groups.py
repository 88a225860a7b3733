"""Groups of trainings: experiments that differ in nothing but their seeds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pokecam.commands.compare.experiments import Experiment, experiment_names, read_experiment
from pokecam.common.errors import InputError, did_you_mean

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


def read_groups(arguments: Sequence[str], repository: Path) -> list[Group]:
    """Read the experiments that each argument names.

    Args:
        arguments: `NAMES` or `NAMES:METHOD`. NAMES has one or more revisions or patterns of names
            of experiments, with commas between them.
        repository: the folder of the project.

    Raises:
        InputError: a pattern has no experiment, an experiment cannot be read, trainings of one
            group differ in more than `SEEDS`, or one of them is of a version without the measures
            of parts that trainings are compared by.
    """
    groups = [_read_group(argument, repository) for argument in arguments]
    if any(len(group.experiments) > 1 for group in groups):
        for experiment in (experiment for group in groups for experiment in group.experiments):
            if "part_baselines" not in experiment.judgement.about:
                raise InputError(
                    f"{experiment.name} comes from an older version of PokeCAM: run it again, "
                    "or compare single experiments"
                )
    return groups


def expand(names: str, existing: Sequence[str]) -> list[str]:
    """Return the revisions and experiments of a list with patterns, each once.

    Args:
        names: with commas between them. `*` stands for any characters, and `?` for one.
        existing: the names of all experiments.

    Raises:
        InputError: a pattern has no experiment.
    """
    expanded: list[str] = []
    for name in names.split(","):
        if not _is_pattern(name):
            expanded.append(name)
            continue
        matching = sorted((e for e in existing if fnmatchcase(e, name)), key=_in_natural_order)
        if not matching:
            there = f"There are: {', '.join(existing)}" if existing else "There is none at all"
            hint = did_you_mean(name.strip("*?-"), existing)
            raise InputError(f"{name}: no experiment has such a name.{hint} {there}")
        expanded += matching
    return list(dict.fromkeys(expanded))


def _read_group(argument: str, repository: Path) -> Group:
    names, colon, method = argument.partition(":")
    has_pattern = any(map(_is_pattern, names.split(",")))
    revisions = expand(names, experiment_names(repository) if has_pattern else [])
    experiments = [read_experiment(f"{name}{colon}{method}", repository) for name in revisions]
    _check_same_but_for_seeds(argument, experiments)
    return Group(argument, experiments)


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _in_natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts seed-2 before seed-10."""
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D+)(\d*)|", name) if text]


def _check_same_but_for_seeds(argument: str, experiments: Sequence[Experiment]) -> None:
    first = experiments[0]
    for other in experiments[1:]:
        differing = [
            name
            for name in first.params.keys() | other.params.keys()
            if name not in SEEDS and first.params.get(name) != other.params.get(name)
        ]
        if differing:
            raise InputError(
                f"{argument}: {first.name} and {other.name} differ in "
                f"{', '.join(sorted(differing))}, but trainings of one group differ in "
                f"{' or '.join(SEEDS)} only: give those that differ in more as another argument"
            )
    seeds = Group(argument, list(experiments)).seeds
    for number, (experiment, of_experiment) in enumerate(zip(experiments, seeds, strict=True)):
        same = seeds.index(of_experiment)
        if same < number:
            raise InputError(
                f"{argument}: {experiments[same].name} and {experiment.name} have the same "
                f"{' and '.join(SEEDS)}, so they are one training: leave one of them out"
            )
