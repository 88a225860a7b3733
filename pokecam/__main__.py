"""Commands beside the pipeline, for example `python -m pokecam explain image.jpg`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

try:
    from pokecam.common import running
    from pokecam.common.errors import InputError, unknown_name
    from pokecam.common.running import run
except ModuleNotFoundError as error:
    sys.exit(
        f"error: {error.name} is not installed in {sys.executable}: run `make`, then "
        "`. .venv/bin/activate`"
    )

PRETRAIN_EXAMPLE = """\
example:
  python -m pokecam pretrain --backbone resnet18 --device auto

If a run was interrupted, the same command continues it.
"""

EXPLAIN_EXAMPLE = """\
examples:
  python -m pokecam explain image.jpg
  python -m pokecam explain images/ --classes Pikachu Raichu --methods cam finer_cam

Uses the network that the pipeline has trained (run `dvc repro` first), or any --model FILE, which
needs no other file.
"""

COMPARE_EXAMPLE = """\
examples:
  python -m pokecam compare main exp-a exp-b
  python -m pokecam compare vgg16:cam alexnet:cam vgg19:grad_cam
  python -m pokecam compare 'seed-*'               # trainings that differ in their seed
  python -m pokecam compare 'vgg-*' 'resnet-*'     # is one better, whatever the seed?
"""

EXPORT_EXAMPLE = """\
example:
  python -m pokecam export model.onnx

docs/model-file.md describes the inputs and outputs of the file. Needs onnx and onnxscript.
"""

RESTORE_EXAMPLE = """\
example:
  python -m pokecam restore
"""

DOCTOR_EXAMPLE = """\
example:
  python -m pokecam doctor
"""

SCHEMA_EXAMPLE = """\
example:
  python -m pokecam schema
"""

CHIMERAS_EXAMPLE = """\
example:
  python -m pokecam chimeras --output chimeras.jpg
"""

SPECIES_SHEETS_EXAMPLE = """\
example:
  python -m pokecam species_sheets --varied Pikachu
"""

# What `ArgumentParser.add_subparsers` returns.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main() -> None:
    """Read the command line and run its command."""
    arguments = _parser().parse_args()
    arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pokecam", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_explain(commands)
    _add_compare(commands)
    _add_restore(commands)
    _add_export(commands)
    _add_doctor(commands)
    _add_pretrain(commands)
    _add_schema(commands)
    _add_chimeras(commands)
    _add_species_sheets(commands)
    return parser


def _add_command(
    commands: Commands,
    function: Callable[[argparse.Namespace], None],
    *,
    help: str,
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    """Add the command that `function` runs, under its name without the underscore."""
    command = commands.add_parser(
        function.__name__.removeprefix("_"),
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=function)
    return command


def _add_explain(commands: Commands) -> None:
    explain = _add_command(
        commands,
        _explain,
        help="what the trained network sees in an image",
        description="Name the classes of new images and paint on them what the network looks at.",
        epilog=EXPLAIN_EXAMPLE,
    )
    explain.add_argument(
        "images", nargs="+", type=Path, metavar="image", help="images, or folders of images"
    )
    explain.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="default: the two most probable. Of two or more, the first is also compared with each "
        "other: a map of the evidence for it (orange) and for the other (purple)",
    )
    explain.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="METHOD",
        help="which maps; README lists the methods. Those of Finer-CAM compare with the three most "
        "probable other classes. Default: cam_methods of params.yaml; without that file cam, or "
        "grad_cam if the head is not linear",
    )
    explain.add_argument("--out", type=Path, default=Path("explained"), help="default: %(default)s")
    _add_model_option(explain)


def _add_compare(commands: Commands) -> None:
    compare = _add_command(
        commands,
        _compare,
        help="experiments beside one another, image by image or training by training",
        description="Write one page with the same test images in rows and an experiment in each "
        "column, read from DVC's cache: nothing is run. Trainings that differ in seed or "
        "split_seed alone can be one group: then intervals and tests are over trainings.",
        epilog=COMPARE_EXAMPLE,
    )
    compare.add_argument(
        "experiments",
        nargs="+",
        metavar="experiment",
        help="a git revision, the name of an experiment, or workspace; or a group of them, with "
        "commas or as a pattern of names ('seed-*'); with :METHOD for another map than the first "
        "of its cam_methods",
    )
    compare.add_argument("--out", type=Path, default=Path("compared"), help="default: %(default)s")


def _add_restore(commands: Commands) -> None:
    _add_command(
        commands,
        _restore,
        help="go back to the last commit: parameters, report, data and models",
        description="Restore params.yaml, dvc.lock and the report of the last commit, and its data "
        "and models from DVC's cache. A finished run that is no experiment yet is saved as one "
        "first. Code and other files stay as they are.",
        epilog=RESTORE_EXAMPLE,
    )


def _add_export(commands: Commands) -> None:
    export = _add_command(
        commands,
        _export,
        help="the trained network as an ONNX file, with its maps",
        description="Write the network with the logits and the class activation maps of all "
        "classes as outputs.",
        epilog=EXPORT_EXAMPLE,
    )
    export.add_argument("output", type=Path, help="the file to write, NAME.onnx")
    _add_model_option(export)


def _add_doctor(commands: Commands) -> None:
    _add_command(
        commands,
        _doctor,
        help="what this machine can do, and how to mend what it cannot",
        description="Check versions, device, disk, DVC's cache, network and weights. Nothing is "
        "changed and nothing is downloaded. The exit code is 1 if something prevents the pipeline "
        "from running.",
        epilog=DOCTOR_EXAMPLE,
    )


def _add_pretrain(commands: Commands) -> None:
    pretrain = _add_command(
        commands,
        _pretrain,
        help="pretrain a backbone on drawn chimeras",
        description="Pretrain a backbone on random drawn creatures, like the shipped weights.",
        epilog=PRETRAIN_EXAMPLE,
    )
    pretrain.add_argument(
        "--backbone", required=True, help="a name in pokecam/networks/families.py"
    )
    pretrain.add_argument("--output", type=Path, help="default: pretrained/<backbone>.safetensors")
    pretrain.add_argument(
        "--work",
        type=Path,
        default=Path("data/pretraining"),
        help="folder for images, checkpoint and snapshots (default: %(default)s)",
    )
    pretrain.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    pretrain.add_argument(
        "--workers",
        type=int,
        default=running.usable_cores(),
        help="processes that render (default: all %(default)s cores)",
    )
    pretrain.add_argument(
        "--rounds", type=int, help="how many times the network sees each creature"
    )


def _add_schema(commands: Commands) -> None:
    _add_command(
        commands,
        _schema,
        help="write params.schema.json, by which editors check params.yaml",
        description="Write params.schema.json anew, after a parameter of the code has changed.",
        epilog=SCHEMA_EXAMPLE,
    )


def _add_chimeras(commands: Commands) -> None:
    chimeras = _add_command(
        commands,
        _chimeras,
        help="draw a contact sheet of the creatures that networks are pretrained on",
        description="Draw six families of the random creatures of `pretrain`, three views of each.",
        epilog=CHIMERAS_EXAMPLE,
    )
    chimeras.add_argument(
        "--output",
        type=Path,
        default=Path("pretrained/chimeras.jpg"),
        help="the JPEG file to write (default: %(default)s)",
    )


def _add_species_sheets(commands: Commands) -> None:
    sheets = _add_command(
        commands,
        _species_sheets,
        help="draw contact sheets of the catalogue of species",
        description="Draw species.png, all species of the catalogue, and variations.png, one "
        "species in all styles with its part masks.",
        epilog=SPECIES_SHEETS_EXAMPLE,
    )
    sheets.add_argument(
        "--out", type=Path, default=Path("docs"), help="folder (default: %(default)s)"
    )
    sheets.add_argument(
        "--settings", type=Path, default=Path("datasets/drawn.yaml"), help="default: %(default)s"
    )
    sheets.add_argument(
        "--varied", default="Pikachu", help="species to vary (default: %(default)s)"
    )
    sheets.add_argument(
        "--seed", type=int, default=31, help="first seed of the variations (default: %(default)s)"
    )


def _add_model_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        type=Path,
        default=Path("models/classifier.safetensors"),
        help="default: %(default)s",
    )


def _model_file(arguments: argparse.Namespace) -> Path:
    """Return the path of the model file, which exists."""
    if not arguments.model.exists():
        raise InputError(
            f"--model: {arguments.model} does not exist here: run `dvc repro` in the top folder of "
            "the project, or give the path of a model file"
        )
    return arguments.model


def _check_clone(file: Path) -> None:
    """Check that a file of the clone is there, for the commands that need more than the package."""
    if not file.exists():
        raise InputError(
            f"{file} does not exist: this command needs the files of the clone; run it in the top "
            "folder of the clone"
        )


# The commands import what they need when they run: torch takes seconds, and --help should not.


def _explain(arguments: argparse.Namespace) -> None:
    from pokecam.cam.methods import METHODS, CamSettings
    from pokecam.commands import explain
    from pokecam.common import params
    from pokecam.common.files import whole_file
    from pokecam.networks import classifier
    from pokecam.networks.device import pick_device
    from pokecam.networks.settings import DeviceSettings

    methods, layer, device = arguments.methods, None, "auto"
    if Path("params.yaml").exists():
        settings = params.read_params(CamSettings)
        device = params.read_params(DeviceSettings).device
        methods, layer = methods or settings.cam_methods, settings.cam_layer
    for name in methods:
        if name not in METHODS:
            raise InputError(f"--methods: {name} {unknown_name(name, METHODS)}")
    files = explain.list_files(arguments.images)
    names = dict(zip(files, explain.output_names(files), strict=True))
    model = classifier.load_classifier(_model_file(arguments)).to(pick_device(device))
    methods = methods or ["cam" if model.linear else "grad_cam"]
    unusable = 0
    for result in explain.explain(
        files, model, classes=arguments.classes, methods=methods, layer=layer
    ):
        if not isinstance(result, explain.Explanation):
            print("{}: not used, {}".format(*result), file=sys.stderr)
            unusable += 1
            continue
        path = arguments.out / names[result.file]
        with whole_file(path) as temporary:
            explain.draw(result).save(temporary, "PNG")
        most_probable = list(result.probabilities.items())[:3]
        answer = ", ".join(f"{name} {explain.percent(value)}" for name, value in most_probable)
        parts = filter(None, (answer, explain.distance_text(result)))
        print(f"{result.file}: {'; '.join(parts)} → {path}")
    if unusable == len(files):
        raise InputError("none of the files given can be used as an image: give other files")
    print(explain.limits_text(model), file=sys.stderr)


def _compare(arguments: argparse.Namespace) -> None:
    import tempfile

    from pokecam.commands.compare import experiments, page
    from pokecam.commands.compare.groups import read_groups

    project = Path()
    groups = read_groups(arguments.experiments, project)
    compared = [experiment for group in groups for experiment in group.experiments]
    if len(compared) < 2:
        raise InputError(
            f"{arguments.experiments[0]} alone: at least two experiments are needed to compare, "
            "such as main and workspace"
        )
    experiments.check_same_images(compared)
    with tempfile.TemporaryDirectory() as temporary:
        # Several experiments can have the same packed images. These are read once.
        names = {
            experiment.packed: experiment.name for experiment in page.drawn_experiments(groups)
        }
        packed = {
            key: experiments.read_packed(name, project, Path(temporary, key))
            for key, name in names.items()
        }
        page.write_comparison(groups, packed, arguments.out)
    print(f"{arguments.out / 'index.html'}")


def _restore(_: argparse.Namespace) -> None:
    from pokecam.commands.restore import restore

    for line in restore(Path()):
        print(line)


def _export(arguments: argparse.Namespace) -> None:
    if arguments.output.suffix != ".onnx":
        raise InputError(f"{arguments.output} given, a name that ends in .onnx expected")
    from pokecam.commands import export
    from pokecam.networks.classifier import load_classifier

    export.check()
    model = load_classifier(_model_file(arguments))
    if export.export(model, arguments.output):
        print(f"{arguments.output}: logits and cams")
    else:
        print(
            f"{arguments.output}: logits, no cams: {model.backbone} with head: {model.head_kind} "
            "is more than average pooling and one linear layer after the activations; head: gap "
            "has them"
        )


def _doctor(_: argparse.Namespace) -> None:
    _check_clone(Path("dvc.yaml"))
    from pokecam.commands.doctor import State, findings

    colours = {State.FINE: "32", State.HINT: "33", State.FAULT: "31;1"}
    faults = 0
    for finding in findings(Path()):
        faults += finding.state is State.FAULT
        state = f"{finding.state.value:5}"
        if sys.stdout.isatty():
            state = f"\033[{colours[finding.state]}m{state}\033[0m"
        print(f"{state} {finding.about}: {finding.result}")
        if finding.advice:
            print(f"      → {finding.advice}")
    if faults:
        raise InputError(f"{faults} of these prevent the pipeline from running")


def _pretrain(arguments: argparse.Namespace) -> None:
    from pokecam.commands.pretrain import pretrain
    from pokecam.networks.device import pick_device
    from pokecam.networks.families import BACKBONES

    if arguments.backbone not in BACKBONES:
        raise InputError(
            f"--backbone: {arguments.backbone} {unknown_name(arguments.backbone, BACKBONES)}"
        )
    for option in ("workers", "rounds"):
        number = getattr(arguments, option)
        if number is not None and number < 1:
            raise InputError(f"--{option}: {number} given, at least 1 expected")
    _check_clone(pretrain.SCENES)
    pretrain.write_weights(
        arguments.backbone,
        pretrain.shipped_recipe(arguments.backbone, arguments.rounds),
        pretrain.shipped_menagerie(),
        output=arguments.output or Path("pretrained", f"{arguments.backbone}.safetensors"),
        work=arguments.work,
        device=pick_device(arguments.device),
        workers=arguments.workers,
    )


def _schema(_: argparse.Namespace) -> None:
    from pokecam.commands import schema
    from pokecam.common.files import whole_file

    text = schema.text(Path("params.yaml"))
    with whole_file(schema.FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(schema.FILE)


def _chimeras(arguments: argparse.Namespace) -> None:
    from PIL import Image

    from pokecam.commands.pretrain.menagerie import contact_sheet
    from pokecam.commands.pretrain.pretrain import SCENES, shipped_menagerie
    from pokecam.common.files import whole_file

    _check_clone(SCENES)
    sheet = Image.fromarray(contact_sheet(shipped_menagerie(), families=6, views=3))
    with whole_file(arguments.output) as temporary:
        sheet.save(temporary, "JPEG", quality=85)


def _species_sheets(arguments: argparse.Namespace) -> None:
    _check_clone(arguments.settings)
    from pokecam.commands.species_sheets import write_sheets

    write_sheets(arguments.settings, arguments.varied, arguments.seed, arguments.out)


if __name__ == "__main__":
    run(main, removes_temporary_files="doctor" not in sys.argv[1:2])
