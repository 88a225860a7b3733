"""Commands beside the pipeline: `python -m pokecam explain image.jpg`, for one."""

import argparse
import sys
from pathlib import Path

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

An interrupted run goes on where it was when the same command is given again.
"""

EXPLAIN_EXAMPLE = """\
examples:
  python -m pokecam explain image.jpg
  python -m pokecam explain images/ --classes Pikachu Raichu --methods cam finer_cam

Uses the network that the pipeline has trained (run `dvc repro` first), or any --model FILE, which
needs nothing beside it.
"""

COMPARE_EXAMPLE = """\
examples:
  python -m pokecam compare main exp-a exp-b
  python -m pokecam compare vgg16:cam alexnet:cam vgg19:grad_cam
"""

EXPORT_EXAMPLE = """\
example:
  python -m pokecam export model.onnx

What the file takes and gives is in docs/model-file.md. Needs onnx and onnxscript.
"""


def main() -> None:
    """Read the command line and do what it says."""
    arguments = _parser().parse_args()
    arguments.command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pokecam", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    explain = commands.add_parser(
        "explain",
        help="what the trained network sees in an image",
        description="Name the classes of new images and paint on them what the network looks at.",
        epilog=EXPLAIN_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    explain.add_argument(
        "images", nargs="+", type=Path, metavar="image", help="images, or folders of them"
    )
    explain.add_argument(
        "--classes", nargs="+", default=[], metavar="CLASS", help="default: the two most probable"
    )
    explain.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="METHOD",
        help="which maps; README lists the methods. Finer-CAM's are against the other classes of a "
        "look-alike group, or else the three most probable. Default: cam_methods of params.yaml; "
        "without that file cam, or grad_cam if the head is not linear",
    )
    explain.add_argument("--out", type=Path, default=Path("explained"), help="default: %(default)s")
    _take_model(explain)
    explain.set_defaults(command=_explain)
    compare = commands.add_parser(
        "compare",
        help="experiments beside one another, image by image",
        description="Write one page with the same test images in rows and an experiment in each "
        "column, read from DVC's cache: nothing is run.",
        epilog=COMPARE_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument(
        "experiments",
        nargs="+",
        metavar="experiment",
        help="a git revision, the name of an experiment, or workspace; with :METHOD for another "
        "map than the first of its cam_methods",
    )
    compare.add_argument("--out", type=Path, default=Path("compared"), help="default: %(default)s")
    compare.set_defaults(command=_compare)
    export = commands.add_parser(
        "export",
        help="the trained network as an ONNX file, with its maps",
        description="Write the network with the logits and the class activation maps of all "
        "classes as outputs.",
        epilog=EXPORT_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("output", type=Path, help="the file to write, NAME.onnx")
    _take_model(export)
    export.set_defaults(command=_export)
    doctor = commands.add_parser(
        "doctor",
        help="what this machine can do, and what to do about what it cannot",
        description="Look at versions, device, disk, DVC's cache, network and weights. Nothing is "
        "changed and nothing fetched. The exit code is 1 if something keeps the pipeline from "
        "running.",
        epilog="example:\n  python -m pokecam doctor\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.set_defaults(command=_doctor)
    pretrain = commands.add_parser(
        "pretrain",
        help="make feature weights from drawn chimeras",
        description="Pretrain a backbone on random drawn creatures, as the shipped weights were.",
        epilog=PRETRAIN_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pretrain.add_argument(
        "--backbone", required=True, help="a name in pokecam/networks/backbones.py"
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
    pretrain.add_argument("--rounds", type=int, help="times each creature is shown")
    pretrain.set_defaults(command=_pretrain)
    schema = commands.add_parser(
        "schema",
        help="write params.schema.json, by which editors check params.yaml",
        description="Write params.schema.json anew, after a parameter of the code has changed.",
        epilog="example:\n  python -m pokecam schema\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    schema.set_defaults(command=_schema)
    sheet = commands.add_parser(
        "chimeras",
        help="draw a contact sheet of the creatures that networks are pretrained on",
        description="Draw six families of the random creatures of `pretrain`, three views of each.",
        epilog="example:\n  python -m pokecam chimeras --output chimeras.jpg\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sheet.add_argument(
        "--output",
        type=Path,
        default=Path("pretrained/chimeras.jpg"),
        help="the JPEG file to write (default: %(default)s)",
    )
    sheet.set_defaults(command=_chimeras)
    return parser


def _take_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        type=Path,
        default=Path("models/classifier.safetensors"),
        help="default: %(default)s",
    )


def _model(arguments: argparse.Namespace) -> Path:
    if not arguments.model.exists():
        raise InputError(
            f"--model: {arguments.model} does not exist here: run `dvc repro` in the top folder of "
            "the project, or give the path of a model file"
        )
    return arguments.model


def _explain(arguments: argparse.Namespace) -> None:
    from pokecam.cam.methods import METHODS, CamSettings
    from pokecam.commands import explain
    from pokecam.common import params
    from pokecam.common.files import whole_file
    from pokecam.networks import classifier
    from pokecam.networks.device import DeviceSettings, pick_device

    methods, layer, device = arguments.methods, None, "auto"
    if Path("params.yaml").exists():
        settings, device = (
            params.read_params(CamSettings),
            params.read_params(DeviceSettings).device,
        )
        methods, layer = methods or settings.cam_methods, settings.cam_layer
    for name in methods:
        if name not in METHODS:
            raise InputError(f"--methods: {name} {unknown_name(name, METHODS)}")
    files = explain.find(arguments.images)
    names = dict(zip(files, explain.output_names(files), strict=True))
    model = classifier.load_classifier(_model(arguments)).to(pick_device(device))
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
        likely = list(result.probabilities.items())[:3]
        answer = ", ".join(f"{name} {explain.percent(value)}" for name, value in likely)
        print(f"{result.file}: {answer} → {path}")
    if unusable == len(files):
        raise InputError("none of the files given can be used as an image")


def _compare(arguments: argparse.Namespace) -> None:
    import tempfile

    from pokecam.commands.compare import experiments, page

    if len(arguments.experiments) < 2:
        raise InputError(
            f"{arguments.experiments[0]} alone: at least two experiments are needed to compare, "
            "such as main and workspace"
        )
    here = Path()
    found = [experiments.read_experiment(name, here) for name in arguments.experiments]
    experiments.check(found)
    with tempfile.TemporaryDirectory() as temporary:
        packed = {
            one.packed: experiments.packed(one.name, here, Path(temporary, one.packed))
            for one in {one.packed: one for one in found}.values()
        }
        page.write_comparison(found, packed, arguments.out)
    print(f"{arguments.out / 'index.html'}")


def _export(arguments: argparse.Namespace) -> None:
    if arguments.output.suffix != ".onnx":
        raise InputError(f"{arguments.output} given, a name that ends in .onnx expected")
    from pokecam.commands import export
    from pokecam.networks.classifier import load_classifier

    export.check()
    model = load_classifier(_model(arguments))
    if export.export(model, arguments.output):
        print(f"{arguments.output}: logits and cams")
    else:
        print(
            f"{arguments.output}: logits, no cams: {model.backbone} with head: {model.head_kind} "
            "is more than average pooling and one linear layer after the activations; head: gap "
            "has them"
        )


def _doctor(_: argparse.Namespace) -> None:
    from pokecam.commands.doctor import State, findings

    colours = {State.FINE: "32", State.HINT: "33", State.FAULT: "31;1"}
    faults = 0
    for one in findings(Path()):
        faults += one.state is State.FAULT
        state = f"{one.state.value:5}"
        if sys.stdout.isatty():
            state = f"\033[{colours[one.state]}m{state}\033[0m"
        print(f"{state} {one.about}: {one.found}")
        if one.advice:
            print(f"      → {one.advice}")
    if faults:
        raise InputError(f"{faults} of these keep the pipeline from running")


def _pretrain(arguments: argparse.Namespace) -> None:
    from pokecam.commands.pretrain.pretrain import shipped_menagerie, shipped_recipe, write_weights
    from pokecam.networks.backbones import BACKBONES  # torch takes seconds, --help should not
    from pokecam.networks.device import pick_device

    if arguments.backbone not in BACKBONES:
        raise InputError(
            f"--backbone: {arguments.backbone} {unknown_name(arguments.backbone, BACKBONES)}"
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
        device=pick_device(arguments.device),
        workers=arguments.workers,
    )


def _schema(_: argparse.Namespace) -> None:
    from pokecam.commands import schema
    from pokecam.common.files import whole_file

    written = schema.text(Path("params.yaml"))
    with whole_file(schema.FILE) as temporary:
        temporary.write_text(written, encoding="utf-8")
    print(schema.FILE)


def _chimeras(arguments: argparse.Namespace) -> None:
    from PIL import Image

    from pokecam.commands.pretrain.menagerie import contact_sheet
    from pokecam.commands.pretrain.pretrain import shipped_menagerie
    from pokecam.common.files import whole_file

    sheet = Image.fromarray(contact_sheet(shipped_menagerie(), families=6, views=3))
    with whole_file(arguments.output) as temporary:
        sheet.save(temporary, "JPEG", quality=85)


if __name__ == "__main__":
    run(main)
