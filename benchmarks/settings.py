"""Parameters for a run, as benchmarks take them: `--setting zoom_out=0.3 epochs=30`."""

import argparse

from pokecam.params import load


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


def _pair(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, load(value)
