"""Commands beside the pipeline: `python -m pokecam pretrain --backbone resnet18`, for one."""

import argparse
from pathlib import Path

from pokecam import cores
from pokecam.errors import InputError, did_you_mean, run

EXAMPLE = """\
example:
  python -m pokecam pretrain --backbone resnet18 --device auto

An interrupted run goes on where it was when the same command is given again.
"""


def main() -> None:
    """Read the command line and do what it says."""
    arguments = _parser().parse_args()
    arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pokecam", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    pretrain = commands.add_parser(
        "pretrain",
        help="make feature weights from drawn chimeras",
        description="Pretrain a backbone on random drawn creatures, as the shipped weights were.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pretrain.add_argument("--backbone", required=True, help="a name of pokecam.backbones.BACKBONES")
    pretrain.add_argument("--output", type=Path, help="default: pretrained/<backbone>.safetensors")
    pretrain.add_argument(
        "--work",
        type=Path,
        default=Path("data/pretraining"),
        help="folder for pictures, checkpoint and snapshots (default: %(default)s)",
    )
    pretrain.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    pretrain.add_argument(
        "--workers",
        type=int,
        default=cores.usable(),
        help="processes that render (default: all %(default)s cores)",
    )
    pretrain.add_argument("--rounds", type=int, help="times each creature is shown")
    pretrain.set_defaults(command=_pretrain)
    sheet = commands.add_parser(
        "chimeras", help="draw a contact sheet of the creatures that networks are pretrained on"
    )
    sheet.add_argument("--output", type=Path, default=Path("pretrained/chimeras.jpg"))
    sheet.set_defaults(command=_chimeras)
    return parser


def _pretrain(arguments: argparse.Namespace) -> None:
    from pokecam.backbones import BACKBONES  # torch takes seconds, --help should not
    from pokecam.device import pick
    from pokecam.pretraining import shipped_menagerie, shipped_recipe, write_weights

    if arguments.backbone not in BACKBONES:
        raise InputError(
            f"--backbone: {arguments.backbone} is not known."
            f"{did_you_mean(arguments.backbone, BACKBONES)} Allowed: {', '.join(BACKBONES)}"
        )
    for option in ("workers", "rounds"):
        number = getattr(arguments, option)
        if number is not None and number < 1:
            raise InputError(f"--{option}: {number} given, at least 1 expected")
    write_weights(
        arguments.backbone,
        shipped_recipe(arguments.backbone, arguments.rounds),
        shipped_menagerie(),
        output=arguments.output or Path("pretrained", f"{arguments.backbone}.safetensors"),
        work=arguments.work,
        device=pick(arguments.device),
        workers=arguments.workers,
    )


def _chimeras(arguments: argparse.Namespace) -> None:
    from PIL import Image

    from pokecam.drawn.menagerie import contact_sheet
    from pokecam.files import whole_file
    from pokecam.pretraining import shipped_menagerie

    sheet = Image.fromarray(contact_sheet(shipped_menagerie(), families=6, views=3))
    with whole_file(arguments.output) as temporary:
        sheet.save(temporary, "JPEG", quality=85)


if __name__ == "__main__":
    run(main)
