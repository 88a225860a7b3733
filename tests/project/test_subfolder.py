"""The project as a subfolder of a larger git repository, which DVC takes for the top folder."""

import shutil
from pathlib import Path

import pytest

from tests.support.repository import Repository, copy_repository

NOTES = "notes.txt"  # a file of the larger repository


def outer(repository: Repository) -> Repository:
    """Return the larger repository of a project."""
    return Repository(repository.path.parents[1])


@pytest.fixture
def subfolder(finished, tmp_path) -> Repository:
    """The finished project in a folder of a larger repository, with a commit of all."""
    project = copy_repository(finished, tmp_path / "larger" / "tools" / "pokecam")
    shutil.rmtree(project.path / ".git")
    (outer(project).path / NOTES).write_text("first\n")
    outer(project).run("git", "init", "-q", "-b", "main")
    outer(project).commit("all")
    return project


@pytest.fixture
def submodule(finished, tmp_path) -> Repository:
    """The finished project as a git submodule, with its cache."""
    larger = Repository(tmp_path / "larger")
    larger.path.mkdir()
    (larger.path / NOTES).write_text("first\n")
    larger.run("git", "init", "-q", "-b", "main")
    allow = ("git", "-c", "protocol.file.allow=always")
    larger.run(*allow, "submodule", "add", "-q", str(finished.path), "tools/pokecam")
    larger.commit("all")
    project = Repository(larger.path / "tools" / "pokecam")
    shutil.copytree(finished.path / ".dvc" / "cache", project.path / ".dvc" / "cache")
    project.run("dvc", "checkout")
    return project


@pytest.mark.parametrize("place", ["subfolder", "submodule"])
def test_experiments_are_run_compared_and_thrown_away(place, request):
    project = request.getfixturevalue(place)
    lock = project.lock()
    assert project.repro() in ([], ["report"])
    assert project.run("git", "status", "--porcelain") == ""
    assert "report" in project.experiment("seed=2")
    assert "accuracy" in project.run("dvc", "metrics", "diff")
    name = project.run("dvc", "exp", "list", "--name-only").strip()
    (outer(project).path / NOTES).write_text("second\n")

    assert "compared/index.html" in project.pokecam("compare", "HEAD", name, "workspace")
    page = (project.path / "compared" / "index.html").read_text(encoding="utf-8")
    assert "seed" in page
    assert f"the experiment {name}" in project.pokecam("restore")
    assert project.lock() == lock
    assert project.run("dvc", "status") == "Data and pipelines are up to date.\n"
    assert (outer(project).path / NOTES).read_text() == "second\n"
    project.run("dvc", "exp", "apply", name)
    assert project.lock() != lock
    project.pokecam("restore")
    assert project.lock() == lock
    assert "FAULT" not in project.pokecam("doctor")


def test_a_finished_run_is_kept_with_its_new_files(subfolder):
    subfolder.set(classes=["Ant", "Bee", "Dog"])
    subfolder.repro()
    assert "is the experiment" in subfolder.pokecam("restore")
    assert not (subfolder.path / "reports" / "images" / "dog.jpg").exists()
    name = subfolder.run("dvc", "exp", "list", "--name-only").strip()
    subfolder.run("dvc", "exp", "apply", name)
    assert (subfolder.path / "reports" / "images" / "dog.jpg").is_file()


def test_queued_experiments_run_in_the_subfolder(subfolder):
    subfolder.run("dvc", "exp", "run", "--queue", "-n", "queued", "-S", "seed=2")
    subfolder.run("dvc", "exp", "run", "--run-all")
    assert "queued" in subfolder.run("dvc", "exp", "list")
    assert "compared/index.html" in subfolder.pokecam("compare", "main", "queued")


def test_other_clones_get_results_through_a_remote(subfolder, tmp_path):
    subfolder.experiment("seed=2")
    name = subfolder.run("dvc", "exp", "list", "--name-only").strip()
    subfolder.pokecam("restore")
    subfolder.run("git", "init", "-q", "--bare", "-b", "main", str(tmp_path / "origin"))
    subfolder.run("git", "remote", "add", "origin", str(tmp_path / "origin"))
    subfolder.run("git", "push", "-q", "-u", "origin", "main")
    store = ("dvc", "remote", "add", "--local", "-d", "store", str(tmp_path / "store"))
    subfolder.run(*store)
    subfolder.run("dvc", "push", "--run-cache", "--all-commits")
    subfolder.run("dvc", "exp", "push", "origin", name)

    subfolder.run("git", "clone", "-q", str(tmp_path / "origin"), str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone" / "tools" / "pokecam")
    clone.run(*store)
    # Nothing is in the cache of the clone: compare reads the remote.
    clone.run("dvc", "exp", "pull", "--no-cache", "origin", name)
    assert "compared/index.html" in clone.pokecam("compare", "main", name)
    clone.run("dvc", "pull", "--run-cache", "--all-commits")
    assert clone.repro() in ([], ["report"])


def test_commits_without_the_subfolder_are_named(subfolder):
    shutil.move(subfolder.path, outer(subfolder).path / "moved")
    outer(subfolder).commit("Move")
    moved = Repository(outer(subfolder).path / "moved")
    answer = moved.pokecam("compare", "main", "main~1", ok=False)
    assert answer == (
        "error: main~1: it does not have this project in its folder moved: name a commit that "
        "does\n"
    )


def test_the_commands_of_the_readme_leave_the_larger_repository_alone(subfolder):
    (outer(subfolder).path / NOTES).write_text("second\n")
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in readme.splitlines() if "git commit -m" in line]
    assert len(commands) == 2
    (subfolder.path / "README.md").write_text("changed\n")
    for command in commands:
        with (subfolder.path / "README.md").open("a") as file:
            file.write("more\n")
        subfolder.run("bash", "-c", command)
    assert outer(subfolder).run("git", "status", "--porcelain") == f" M {NOTES}\n"
