"""Clones by a git with settings that change files or leave history out."""

import re
import subprocess

import pytest
import yaml

from tests.support.repository import PROJECT, Repository

TREE = ("git", "ls-files", "-z")


def clone(origin: str, folder, *options: str) -> Repository:
    """Clone a repository, with options of `git clone`."""
    subprocess.run(["git", "clone", "-q", *options, origin, str(folder)], check=True)
    return Repository(folder)


def dependencies() -> set[str]:
    """Return the files and folders that the stages depend on."""
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name for stage in stages.values() for name in stage["deps"]}


@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.eol=crlf"])
def test_line_ends_are_those_of_the_commit(tmp_path, setting):
    """git's default on Windows is core.autocrlf=true."""
    copy = Repository(tmp_path / "copy")
    names = [name for name in copy_tree(copy) if not name.startswith(("tests/", "docs/"))]
    windows = clone(str(copy.path), tmp_path / "windows", "-c", setting)
    changed = [
        name
        for name in names
        if (windows.path / name).read_bytes() != (PROJECT / name).read_bytes()
    ]
    assert changed == []
    top_names = {name.partition("/")[0] for name in dependencies() if "$" not in name}
    assert top_names - {"data", "models"} <= {name.partition("/")[0] for name in names}
    assert windows.run("git", "status", "--porcelain") == ""


def copy_tree(copy: Repository) -> list[str]:
    """Commit the files of this project, as they are now, to a new repository."""
    listing = subprocess.run(TREE, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    names = [name for name in listing.split("\0") if name and (PROJECT / name).is_file()]
    for name in names:
        (copy.path / name).parent.mkdir(parents=True, exist_ok=True)
        (copy.path / name).write_bytes((PROJECT / name).read_bytes())
    copy.run("git", "init", "-q")
    copy.commit()
    return names


def test_a_clone_with_other_line_ends_reruns_nothing(repository, tmp_path):
    windows = clone(str(repository.path), tmp_path / "windows", "-c", "core.autocrlf=true")
    windows.run("dvc", "cache", "dir", "--local", str(repository.path / ".dvc" / "cache"))
    windows.run("dvc", "checkout")
    assert windows.run("dvc", "status") == "Data and pipelines are up to date.\n"
    assert windows.repro() == []
    assert windows.run("git", "status", "--porcelain") == ""
    windows.run("dvc", "exp", "run", "--queue", "-n", "queued", "-S", "judge_measures=[]")
    output = windows.run("dvc", "exp", "run", "--run-all")
    assert re.findall(r"Running stage '(\w+)'", output) == ["check", "judge", "report"]


def test_git_knows_binary_files():
    command = ["git", "check-attr", "diff", "text", "--", "a.jpg", "b.png", "c.safetensors"]
    output = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    assert output.count(": diff: unset") == output.count(": text: unset") == 3


@pytest.fixture
def shallow(repository, tmp_path) -> Repository:
    """A shallow clone of a repository with an experiment of its first commit."""
    repository.experiment("judge_measures=[]")
    repository.pokecam("restore")
    (repository.path / "notes.txt").write_text("one more commit\n")
    repository.commit()
    return clone(repository.path.as_uri(), tmp_path / "shallow", "--depth", "1")


def test_a_shallow_clone_is_named_and_made_whole(repository, shallow):
    name = repository.run("dvc", "exp", "list", "--all-commits", "--name-only").strip()
    report = shallow.pokecam("doctor")
    assert "older commits and their experiments are missing" in report
    answer = shallow.pokecam("compare", "HEAD~1", "HEAD", ok=False)
    assert "this clone is shallow: `git fetch --unshallow` brings older commits" in answer
    line = next(line for line in report.splitlines() if "unshallow" in line)
    for command in re.findall("`(git fetch .+?)`", line):
        shallow.run("bash", "-c", command)
    assert name in shallow.run("dvc", "exp", "list", "--all-commits")
    assert "unshallow" not in shallow.pokecam("doctor")
    answer = shallow.pokecam("compare", "HEAD~2", "HEAD", ok=False)
    assert "this clone is shallow" not in answer
