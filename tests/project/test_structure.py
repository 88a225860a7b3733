"""The rules of the tree: a stage declares what it can import, packages import downwards."""

import ast
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT
from tests.support.project_imports import (
    TOP,
    circles,
    closure,
    idle,
    through_the_top,
    undeclared,
    upward,
)

PIPELINE = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
STAGES = sorted(PIPELINE)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_what_it_can_import_and_nothing_else(stage):
    assert undeclared(PROJECT, stage) == set()
    assert idle(PROJECT, stage) == set()


def test_packages_import_downwards_only():
    assert upward(PROJECT) == set()
    assert circles(PROJECT) == []


def small_project(folder, files: dict[str, str]):
    """A tree with packages `common`, `cam`, `report` and one stage that declares the last two."""
    deps = ["pokecam/cam", "pokecam/report", "stages/a.py"]
    files = {
        "dvc.yaml": yaml.safe_dump({"stages": {"a": {"deps": deps}}}),
        "stages/a.py": "from pokecam.report import page\n",
        "pokecam/__init__.py": "",
        **{f"pokecam/{package}/__init__.py": "" for package in ("common", "cam", "report")},
        "pokecam/common/files.py": "import numpy\n",
        "pokecam/cam/display.py": "name = 1\n",
        "pokecam/report/page.py": "from pokecam.cam.display import name\n",
        "pokecam/report/templates/style.css": "",
        **files,
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_tree_in_order_passes(tmp_path):
    project = small_project(tmp_path, {})
    assert closure(project, "stages.a") == {
        "stages/a.py",
        "pokecam/report/page.py",
        "pokecam/cam/display.py",
    }
    assert (undeclared(project, "a"), idle(project, "a")) == (set(), set())
    assert (upward(project), circles(project)) == (set(), [])


def test_an_undeclared_helper_would_be_noticed(tmp_path):
    page = "def f():\n    import pokecam.common.files\nfrom pokecam.cam.display import name\n"
    project = small_project(tmp_path, {"pokecam/report/page.py": page})
    assert undeclared(project, "a") == {"pokecam/common/files.py"}


def test_an_undeclared_template_would_be_noticed(tmp_path):
    deps = ["pokecam/cam", "pokecam/report/page.py", "stages/a.py"]
    pipeline = yaml.safe_dump({"stages": {"a": {"deps": deps}}})
    project = small_project(tmp_path, {"dvc.yaml": pipeline})
    assert undeclared(project, "a") == {"pokecam/report/templates/style.css"}


def test_an_idle_dependency_would_be_noticed(tmp_path):
    project = small_project(tmp_path, {"pokecam/report/page.py": "name = 2\n"})
    assert idle(project, "a") == {"pokecam/cam"}


def test_an_import_upwards_would_be_noticed(tmp_path):
    display = "from pokecam.report import page\n"
    project = small_project(tmp_path, {"pokecam/cam/display.py": display})
    assert upward(project) == {("pokecam.cam.display", "pokecam.report.page")}
    assert circles(project) == [["pokecam/cam/display.py", "pokecam/report/page.py", "stages/a.py"]]


def test_an_import_for_types_alone_counts_for_the_order_but_not_for_a_stage(tmp_path):
    for_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
    page = f"{for_types}from pokecam.common import files\n"
    display = f"{for_types}import pokecam.report.page\n"
    files = {"pokecam/report/page.py": page, "pokecam/cam/display.py": display}
    project = small_project(tmp_path, files)
    assert undeclared(project, "a") == set()
    assert upward(project) == {("pokecam.cam.display", "pokecam.report.page")}


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
        "pokecam/cam/display.py",
        "pokecam/cam/stored_maps.py",
    }


@pytest.mark.parametrize(
    "path",
    [p for p in library_files() if p.name == "__init__.py" and p != PROJECT / TOP],
    ids=lambda p: p.relative_to(PROJECT).as_posix(),
)
def test_package_files_hold_a_docstring_only(path):
    body = ast.parse(path.read_text()).body
    assert len(body) == 1
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_top_package_only_names_what_it_offers():
    """Every stage executes it, so it runs nothing but what makes names available (`TOP`)."""
    docstring, *body = ast.parse((PROJECT / TOP).read_text()).body
    assert isinstance(docstring, ast.Expr)
    run = [node for node in body if not isinstance(node, ast.FunctionDef)]
    assert [ast.unparse(node).split("\n")[0].split("[")[0] for node in run] == [
        "from importlib import import_module",
        "from typing import TYPE_CHECKING, Any",
        "if TYPE_CHECKING:",
        "__all__ = ",
    ]
    assert {node.name for node in body if node not in run} == {"__getattr__", "__dir__"}


def test_stages_and_library_take_nothing_from_the_top_package():
    """It would be code that a stage uses and does not declare."""
    assert through_the_top(PROJECT) == set()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from pokecam import cam, heatmaps\n", "heatmaps"),
        ("def f():\n    import pokecam\n", "pokecam"),
    ],
)
def test_an_import_through_the_top_package_would_be_noticed(line, name, tmp_path):
    project = small_project(tmp_path, {"pokecam/report/page.py": line})
    assert through_the_top(project) == {("pokecam/report/page.py", name)}


def test_a_change_of_the_top_package_runs_no_stage(tmp_path):
    top = "def __getattr__(name):\n    import pokecam.common.files\n"
    project = small_project(tmp_path, {"pokecam/__init__.py": top})
    assert undeclared(project, "a") == set()


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
