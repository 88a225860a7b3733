"""Parameters that a benchmark changes for its runs: `--setting zoom_out=0.3 epochs=30`."""

import argparse

from pokecam.common.params import load_yaml, read_params
from pokecam.training.settings import Recipe
from support import PROJECT


def add_setting(parser: argparse.ArgumentParser) -> None:
    """Add the option `--setting`. `dict(options.setting)` is name → value."""
    parser.add_argument(
        "--setting",
        nargs="*",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="parameters to change",
    )


def changed_recipe(parser: argparse.ArgumentParser, changes: dict[str, object]) -> Recipe:
    """Return the committed recipe with changes. The seed cannot change: the benchmark sets it."""
    if unknown := changes.keys() - (Recipe.model_fields.keys() - {"seed"}):
        parser.error(
            f"--setting: {', '.join(unknown)} given, a parameter of the recipe other than seed "
            "expected"
        )
    committed = read_params(Recipe, PROJECT / "params.yaml")
    return Recipe.model_validate(committed.model_dump() | changes)


def _pair(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, load_yaml(value)
