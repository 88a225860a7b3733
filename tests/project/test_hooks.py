"""The hooks of pre-commit, and what docs/ci-example.md would have a git host run."""

import json
import re

import pytest
import yaml

from tests.support.repository import PROJECT, Repository, clone_project

HOOKS = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
EXAMPLE = re.search(
    r"^```yaml\n(.*?)^```",
    (PROJECT / "docs" / "ci-example.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE | re.DOTALL,
)[1]


def commands() -> list[str]:
    jobs = yaml.safe_load(EXAMPLE)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


@pytest.fixture
def clone(tmp_path) -> Repository:
    return clone_project(tmp_path / "clone", tmp_path)


@pytest.fixture
def hooks(tmp_path, monkeypatch, clone):
    """Run the hooks on all files of a clone."""
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "hooks"))

    def run(skip: str, *, ok: bool) -> str:
        monkeypatch.setenv("SKIP", skip)
        clone.run("git", "add", "-A")
        return clone.run("pre-commit", "run", "--all-files", ok=ok)

    return run


def test_hooks_are_programs_of_the_environment_so_nothing_is_fetched():
    assert [repo["repo"] for repo in HOOKS["repos"]] == ["local"]
    assert {hook["language"] for hook in HOOKS["repos"][0]["hooks"]} == {"system"}


def test_the_project_passes_its_hooks(hooks):
    assert "Failed" not in hooks("mypy", ok=True)


@pytest.mark.slow  # mypy without its cache
def test_the_project_passes_mypy_as_a_hook(hooks):
    assert re.search(r"^mypy\.+Passed$", hooks("", ok=True), flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "content", "hook"),
    [
        ("a.py", "x  =  1\n", "ruff format"),
        ("a.py", "import os\n", "ruff check"),
        ("a.yaml", "a: [1\n", "YAML can be read"),
        ("dvc.lock", "a: [1\n", "YAML can be read"),
        ("a.json", "{'a': 1}\n", "JSON can be read"),
    ],
)
def test_a_faulty_file_is_found_by_its_hook(clone, hooks, name, content, hook):
    (clone.path / name).write_text(content, encoding="utf-8")
    told = hooks("mypy", ok=False)
    failed = re.findall(r"^(.+?)\.+Failed$", told, flags=re.MULTILINE)
    assert failed == [hook], told


def test_the_example_runs_targets_that_there_are():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = {word for line in commands() for word in line.split()[1:] if line.startswith("make")}
    assert targets == {"lint", "test"}
    assert all(re.search(rf"^{name}:", makefile, flags=re.MULTILINE) for name in targets)
    (install,) = (line for line in commands() if line.startswith("pip"))
    assert "--require-hashes" in install.split()
    assert (PROJECT / install.split()[-1]).is_file()


def test_the_metrics_of_the_example_are_a_table_of_what_changed(repository):
    path = repository.path / "reports" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(metrics | {"accuracy": 0.125}), encoding="utf-8")
    repository.commit("other numbers")
    (line,) = (line for line in commands() if line.startswith("dvc"))
    repository.run("sh", "-c", f"BASE=HEAD~1; {line}")
    table = (repository.path / "metrics.tmp").read_text(encoding="utf-8")
    assert re.search(r"^\| *reports/metrics.json *\| *accuracy *\|.* 0\.125 ", table, re.MULTILINE)
    assert repository.run("git", "status", "--porcelain") == ""
