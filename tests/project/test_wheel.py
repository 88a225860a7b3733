"""The package as `pip install .` installs it: the wheel holds what the code reads. Scripts and
commands run in a folder that is not the clone."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokecam.cam.methods import METHODS
from pokecam.networks.classifier import build_classifier, save_classifier
from tests.conftest import PROJECT
from tests.support.project_imports import closure

# The commands that need the clone, which say so.
OF_THE_CLONE = {
    "doctor": "dvc.yaml does not exist: this command needs the files of the clone; run it in",
    "species_sheets": "datasets/drawn.yaml does not exist: this command needs the files",
    "schema": "params.yaml does not exist: run this from the top folder of the project",
    "export a.onnx": "models/classifier.safetensors does not exist here: run `dvc repro` in",
}
OF_THE_CLONE_SLOW = {  # these import torch first
    "chimeras": "pretrained/scenes.yaml does not exist: this command needs the files of the clone",
    "pretrain --backbone resnet18": "pretrained/scenes.yaml does not exist: this command needs",
    "compare a b": "is not a git repository",
}


def tracked_files() -> list[str]:
    """The files of the package that are in git, or will be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "pokecam"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return sorted(name for name in done.stdout.splitlines() if (PROJECT / name).exists())


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel, unpacked; it is built beside the clone, so that no `build/` stays in it."""
    pytest.importorskip("setuptools", reason="builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    for name in ["pyproject.toml", *tracked_files()]:
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / "source" / name)
    code = "from setuptools import build_meta; build_meta.build_wheel('../built')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder / "source",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "built").glob("pokecam-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A folder with a model file and an image, and nothing else."""
    save_classifier(
        build_classifier("squeezenet1_1", "gap", ["Ant", "Bee"], 64),
        tmp_path / "model.safetensors",
        weights="none",
    )
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    return tmp_path


def python(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_every_file_of_the_package_and_no_other(installed):
    files = sorted(
        path.relative_to(installed).as_posix()
        for path in (installed / "pokecam").rglob("*")
        if path.is_file()
    )
    assert files == tracked_files()
    assert [path.name for path in installed.iterdir() if "dist-info" not in path.name] == [
        "pokecam"
    ]


SCRIPT = """
import sys
from pathlib import Path

import torch
import pokecam

assert Path(pokecam.__file__).is_relative_to(sys.argv[1]), pokecam.__file__
network = torch.nn.Sequential(
    *(torch.nn.Conv2d(3, 4, 5, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)),
    *(torch.nn.Flatten(), torch.nn.Linear(4, 3)),
)
x = torch.rand(2, 3, 64, 64)
print(pokecam.heatmaps(pokecam.cut(network, x), x, "cam", classes=[2]).shape)
explanations = pokecam.explain("a.png", "model.safetensors", methods=list(pokecam.METHODS))
print(len(explanations[0].heatmaps), len(explanations._repr_html_()) > 1000)

from pokecam.data.drawn import species
from pokecam.report import jinja
print(len(species.catalogue(species.FOLDER)))
jinja.environment(jinja.TEMPLATES).get_template("template.html")
"""


def test_a_script_in_another_folder_uses_the_maps(installed, elsewhere):
    done = python(installed, elsewhere, "-c", SCRIPT, str(installed))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["(2, 1, 64, 64)", f"{2 * len(METHODS)} True", "18"]


def test_the_command_explains_an_image_in_another_folder(installed, elsewhere):
    words = ("-m", "pokecam", "explain", "--model", "model.safetensors", "a.png")
    done = python(installed, elsewhere, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a.png: ")
    assert Image.open(elsewhere / "explained" / "a.png").height == 30 + 2 * (64 + 30 + 16)


@pytest.mark.parametrize(
    "command",
    [
        *OF_THE_CLONE,
        *(pytest.param(name, marks=pytest.mark.slow) for name in OF_THE_CLONE_SLOW),
    ],
)
def test_a_command_that_needs_the_clone_says_so_in_one_line(command, installed, tmp_path):
    done = python(installed, tmp_path, "-m", "pokecam", *command.split())
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert (OF_THE_CLONE | OF_THE_CLONE_SLOW)[command] in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_packages_that_the_maps_need_are_listed():
    """Those that the modules behind `import pokecam` import when they are loaded."""
    listed = re.search(
        r"^    pip install (\w.+)$",
        (PROJECT / "docs/install.md").read_text(encoding="utf-8").split("## The maps alone\n")[1],
        re.MULTILINE,
    )[1].split()
    imported = set()
    modules = {f"pokecam.cam.{method.path.partition('.')[0]}" for method in METHODS.values()}
    for file in set().union(*(closure(PROJECT, name) for name in ("pokecam.api", *modules))):
        body = ast.parse((PROJECT / file).read_text(encoding="utf-8")).body
        inside = [node for block in body if isinstance(block, ast.With) for node in block.body]
        for node in [*body, *inside]:
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    names = {"PIL": "pillow", "ruamel": "ruamel.yaml", "pydantic_core": "pydantic"}
    names["skimage"] = "scikit-image"
    imported -= {*sys.stdlib_module_names, "pokecam"}
    assert {names.get(name, name) for name in imported} == set(listed)
