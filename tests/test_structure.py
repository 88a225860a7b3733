"""The rules of the tree: what a stage declares is what it can import, arrows go one way."""

import ast
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT
from tests.project_imports import closure

PIPELINE = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
STAGES = sorted(PIPELINE)


def declared_code(stage: str) -> set[str]:
    return {dep for dep in PIPELINE[stage]["deps"] if dep.endswith(".py")}


@pytest.mark.parametrize("stage", STAGES)
def test_declared_code_is_what_can_be_imported(stage):
    assert declared_code(stage) == closure(PROJECT, f"stages.{stage}")


def test_an_undeclared_helper_would_be_noticed(tmp_path):
    for name, text in {
        "stages/a.py": "from typing import TYPE_CHECKING\n"
        "from pokecam import x\n"
        "if TYPE_CHECKING:\n    from pokecam.types_only import T\n"
        "def f():\n    import pokecam.sub.y\n",
        "pokecam/__init__.py": "",
        "pokecam/x.py": "from pokecam.z import name\n",
        "pokecam/z.py": "import numpy\nname = 1\n",
        "pokecam/sub/y.py": "",
        "pokecam/types_only.py": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert closure(tmp_path, "stages.a") == {
        "stages/a.py",
        "pokecam/x.py",
        "pokecam/z.py",
        "pokecam/sub/y.py",
    }


@pytest.mark.parametrize("stage", STAGES)
def test_stages_are_short_and_run_as_modules(stage):
    assert PIPELINE[stage]["cmd"] == f"python -m stages.{stage}"
    assert len((PROJECT / "stages" / f"{stage}.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("stage", STAGES)
def test_stages_do_not_import_one_another(stage):
    others = {name for name in closure(PROJECT, f"stages.{stage}") if name.startswith("stages/")}
    assert others == {"stages/__init__.py", f"stages/{stage}.py"}


def library_files() -> list[Path]:
    return sorted((PROJECT / "pokecam").rglob("*.py"))


@pytest.mark.parametrize("path", library_files(), ids=lambda p: p.relative_to(PROJECT).as_posix())
def test_the_library_never_imports_stages(path):
    module = path.relative_to(PROJECT).with_suffix("").as_posix().replace("/", ".")
    assert not any(name.startswith("stages/") for name in closure(PROJECT, module))


def test_cam_and_report_do_not_import_one_another():
    assert not any("pokecam/report" in name for name in closure(PROJECT, "stages.cam"))
    torch_free = closure(PROJECT, "stages.report")
    assert {name for name in torch_free if name.startswith("pokecam/cam/")} <= {
        "pokecam/cam/display.py"
    }


@pytest.mark.parametrize(
    "path",
    [p for p in library_files() if p.name == "__init__.py"],
    ids=lambda p: p.relative_to(PROJECT).as_posix(),
)
def test_package_files_hold_a_docstring_only(path):
    body = ast.parse(path.read_text()).body
    assert len(body) == 1
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_only_report_writes_outputs_kept_in_git():
    uncached = {
        stage
        for stage, spec in PIPELINE.items()
        for out in [*spec.get("outs", []), *spec.get("metrics", []), *spec.get("plots", [])]
        if isinstance(out, dict) and next(iter(out.values())).get("cache") is False
    }
    assert uncached == {"report"}


def test_every_parameter_is_used_and_explained():
    text = (PROJECT / "params.yaml").read_text()
    params = yaml.safe_load(text)
    used = {
        key for spec in PIPELINE.values() for key in spec.get("params", []) if isinstance(key, str)
    }
    assert set(params) == used
    lines = text.splitlines()
    for key in params:
        row = next(i for i, line in enumerate(lines) if line.startswith(f"{key}:"))
        assert "#" in lines[row] or lines[row - 1].startswith("#"), f"{key} has no explanation"
