"""Parameters for a run, as benchmarks take them: `--setting zoom_out=0.3 epochs=30`."""

import argparse

from images import PROJECT

from pokecam.common.params import load, read_params
from pokecam.training.settings import Recipe


def add_setting(parser: argparse.ArgumentParser) -> None:
    """Give the parser `--setting`; `dict(options.setting)` is what it was given."""
    parser.add_argument(
        "--setting",
        nargs="*",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="parameters to change",
    )


def of_recipe(parser: argparse.ArgumentParser, changed: dict[str, object]) -> Recipe:
    """The committed recipe with some parameters changed; the seed is the benchmark's own."""
    if wrong := changed.keys() - (Recipe.model_fields.keys() - {"seed"}):
        parser.error(f"--setting: {', '.join(wrong)}: take the recipe's parameters, but seed")
    committed = read_params(Recipe, PROJECT / "params.yaml")
    return Recipe.model_validate(committed.model_dump() | changed)


def _pair(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, load(value)
