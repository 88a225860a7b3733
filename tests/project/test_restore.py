"""`python -m pokecam restore` with the real `dvc`, from every state a user can be in.

After it the parameters, the lock and the report are those of the commit, git has nothing to say,
and whatever DVC's cache holds of the committed run is back. Nothing that took work is lost.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.project.test_faults import program_of, started, wait_for
from tests.support.repository import Repository, draw_images

NEVER_COMPUTED = "its run was never computed in this clone: `dvc repro` computes"
NOT_KEPT = "the workspace has no finished run of its code and parameters to keep"
OWN = {"cat": (90, 60, 30), "lynx": (30, 60, 90)}


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def results(repository: Repository) -> dict[str, bytes]:
    """What the pipeline has written, with its parameters."""
    paths = [repository.path / name for name in ("data", "models", "reports")]
    files = {f"{path.name}/{name}": data for path in paths for name, data in contents(path).items()}
    named = {name: (repository.path / name).read_bytes() for name in ("params.yaml", "dvc.lock")}
    return files | named


def kept_name(told: str) -> str:
    """The experiment that the command names."""
    return re.search(r"is the experiment (\S+): `dvc exp apply (\1)` brings it back", told)[1]


def check_back(repository: Repository, before: dict[str, bytes]) -> None:
    """All is as before, and neither git nor DVC has anything to say."""
    assert results(repository) == before
    assert repository.run("git", "status", "--porcelain") == ""
    assert repository.run("git", "branch", "--show-current").strip() in ("main", "master")
    assert repository.run("dvc", "status") == "Data and pipelines are up to date.\n"


def commit_a_run_of_another_machine(repository: Repository) -> None:
    """Make a commit whose run rounded differently: other bytes from the training on.

    The workspace keeps the run of this machine, as after the first `make`.
    """
    path = repository.path / "dvc.lock"
    here = path.read_bytes()
    lock = yaml.safe_load(here)
    for stage in ("train", "evaluate", "cam", "judge", "report"):
        for entry in [*lock["stages"][stage]["outs"], *lock["stages"][stage].get("deps", [])]:
            if entry["path"].startswith(("models/c", "models/h", "data/e", "data/c", "data/j")):
                folder = ".dir" if entry["md5"].endswith(".dir") else ""
                entry["md5"] = f"{entry['md5'][:20]}{'0' * 12}{folder}"
    path.write_text(yaml.safe_dump(lock))
    repository.commit("run of another machine")
    path.write_bytes(here)


def test_a_clone_in_which_nothing_has_run(finished, tmp_path):
    clone = Repository(tmp_path / "clone")
    subprocess.run(["git", "clone", "-q", finished.path, clone.path], check=True)
    told = clone.pokecam("restore")
    assert NEVER_COMPUTED in told
    assert NOT_KEPT not in told
    assert clone.run("git", "status", "--porcelain") == ""


def test_after_the_first_run_that_gave_other_bytes(repository):
    """What the cache has comes back, the rest is named, and the run of this machine is kept."""
    commit_a_run_of_another_machine(repository)
    here = results(repository)
    told = repository.pokecam("restore")
    assert f"{NEVER_COMPUTED} models/classifier.safetensors" in told
    assert repository.run("git", "status", "--porcelain") == ""
    assert not list((repository.path / "models").glob("class*"))
    assert not (repository.path / "data" / "cams").exists()
    for name in ("data/raw.zip", "data/split.csv", "models/pretrained.safetensors"):
        assert (repository.path / name).read_bytes() == here[name]
    answer = repository.pokecam("compare", "HEAD", "workspace", ok=False)
    assert "its run was not computed in this clone. Commit a run of yours" in answer
    repository.run("dvc", "exp", "apply", kept_name(told))
    assert results(repository) == here
    assert repository.run("dvc", "status") == "Data and pipelines are up to date.\n"


def test_after_an_experiment_and_after_a_run_that_is_none(repository):
    """`dvc exp run` has made an experiment, whose name is told. After `dvc repro` one is made."""
    before = results(repository)
    repository.run("dvc", "exp", "run", "-n", "few", "-S", "judge_images=2")
    assert kept_name(repository.pokecam("restore")) == "few"
    check_back(repository, before)
    repository.set(judge_images=1)
    assert set(repository.repro()) == {"judge", "report"}
    changed = results(repository)
    name = kept_name(repository.pokecam("restore"))
    check_back(repository, before)
    repository.run("dvc", "exp", "apply", name)
    assert results(repository) == changed
    assert kept_name(repository.pokecam("restore")) == name
    check_back(repository, before)


def test_after_an_experiment_that_failed(repository):
    """The file keeps its length, and fails within the second in which DVC wrote it."""
    before = results(repository)
    change = ("-S", "split_seed=3", "-S", "backbone=squeezenet1_9")
    repository.run("dvc", "exp", "run", *change, ok=False)
    code = repository.path / "pokecam" / "__init__.py"
    code.write_text(code.read_text() + "\n")
    notes = repository.path / "reports" / "notes.txt"
    notes.write_text("of the user")
    told = repository.pokecam("restore")
    assert NOT_KEPT in told
    assert "dvc exp run -S split_seed=3 -S backbone=squeezenet1_9" in told
    assert notes.read_text() == "of the user"
    notes.unlink()
    assert repository.run("git", "status", "--porcelain").split() == ["M", "pokecam/__init__.py"]
    repository.run("git", "checkout", "pokecam")
    check_back(repository, before)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train", "report"])
def test_after_an_experiment_that_was_killed(repository, stage):
    """DVC has taken git from its branch, and its change is in the index."""
    before = results(repository)
    with started(repository, "dvc", "exp", "run", "-S", "seed=7") as dvc:
        wait_for(lambda: program_of(stage, dvc), 300, f"{stage} did not start")
        os.killpg(dvc.pid, signal.SIGKILL)
    assert repository.run("git", "branch", "--show-current") == ""
    assert "params.yaml" in repository.run("git", "diff", "--cached", "--name-only")
    told = repository.pokecam("restore")
    assert f"{NOT_KEPT}; this starts it again: dvc exp run -S seed=7" in told
    check_back(repository, before)


@pytest.mark.slow
def test_after_images_of_the_user_nothing_of_them_is_left_for_git(repository, tmp_path):
    """Nor are exported networks, painted images and pages of comparison."""
    before = results(repository)
    draw_images(tmp_path / "own", OWN, 12)
    changes = (f"source={tmp_path / 'own'}", "classes=all", "lookalikes=[[cat,lynx]]")
    repository.experiment(*changes)
    assert (repository.path / "reports" / "images" / "lynx.jpg").exists()
    own_run = results(repository)
    for name in ("image.jpg", "b.png"):
        shutil.copy(tmp_path / "own" / "lynx" / "00.png", tmp_path / name)
    repository.pokecam("explain", str(tmp_path / "image.jpg"))
    repository.pokecam("export", "model.onnx")
    repository.pokecam("compare", "workspace", "workspace")
    name = kept_name(repository.pokecam("restore"))
    check_back(repository, before)
    repository.run("git", "add", "-A")
    assert repository.run("git", "diff", "--cached", "--name-only") == ""
    assert (repository.path / "model.onnx").exists()
    repository.run("dvc", "exp", "apply", name)
    assert results(repository) == own_run


def test_after_a_split_of_the_user(repository):
    """The file is an input of the user, and stays."""
    before = results(repository)
    split = (repository.path / "data" / "split.csv").read_text()
    moved = re.sub(r"(Ant/\d+\.png,Ant),train", r"\1,test", split, count=1)
    (repository.path / "my-split.csv").write_text(moved)
    repository.set(split_file="my-split.csv")
    repository.run("dvc", "repro", "split")
    assert (repository.path / "data" / "split.csv").read_text() == moved
    told = repository.pokecam("restore")
    assert f"{NOT_KEPT}; this starts it again: dvc exp run -S split_file=my-split.csv" in told
    (repository.path / "my-split.csv").unlink()
    check_back(repository, before)


def test_an_output_that_was_edited_is_moved_aside(repository):
    """It is nowhere else. Written in place, as root writes, it does not reach the cache."""
    before = results(repository)
    path = repository.path / "data" / "split.csv"
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"edited")
    edited = path.read_bytes()
    told = repository.pokecam("restore")
    (aside,) = re.findall(r"data/split.csv is not in DVC's cache: it is now (\S+)", told)
    assert (repository.path / aside).read_bytes() == edited
    check_back(repository, before)


def test_git_and_dvc_bring_back_an_output_that_was_written_in_place(repository):
    """With hard links the edit would reach the cache, and DVC would bring back the edited file."""
    path = repository.path / "data" / "split.csv"
    original = path.read_bytes()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"edited")
    repository.run("git", "checkout", "params.yaml", "dvc.lock")
    assert "modified" in repository.run("dvc", "status")
    repository.run("dvc", "checkout", "--force")
    assert path.read_bytes() == original


def test_an_edited_split_is_written_anew_by_repro(repository):
    """It is an output: the old network never counts as trained on the edited file."""
    before = results(repository)
    path = repository.path / "data" / "split.csv"
    path.unlink()
    path.write_bytes(before["data/split.csv"].replace(b",train", b",test", 1))
    repository.run("dvc", "repro")
    check_back(repository, before)


def test_damaged_files_are_no_obstacle(repository):
    before = results(repository)
    (repository.path / "params.yaml").write_text("seed: [1")
    os.truncate(repository.path / "dvc.lock", 40)
    told = repository.pokecam("restore")
    (aside,) = re.findall(r"params.yaml is not valid YAML: .*, it is now (\S+)", told)
    assert (repository.path / aside).read_text() == "seed: [1"
    check_back(repository, before)


def test_what_stands_in_the_way_is_told(repository):
    """Somebody is at work, a merge is not finished, or there is no run to go back to."""
    before = results(repository)

    def refusal() -> str:
        (line,) = repository.pokecam("restore", ok=False).splitlines()
        return line

    repository.run("git", "checkout", "-q", "-b", "side")
    repository.set(seed=8)
    repository.commit("seed 8")
    repository.run("git", "checkout", "-q", "-")
    repository.set(seed=9)
    repository.commit("seed 9")
    repository.run("git", "merge", "side", ok=False)
    assert refusal().startswith("error: a merge is not finished: ")
    repository.run("git", "merge", "--abort")
    repository.run("git", "reset", "-q", "--hard", "HEAD~1")
    with started(repository, "dvc", "repro", "--force", "--single-item", "train") as dvc:
        wait_for(lambda: program_of("train", dvc), 120, "train did not start")
        assert refusal().startswith("error: DVC is running here")
        assert dvc.wait(timeout=300) == 0
    check_back(repository, before)
    repository.run("git", "rm", "-q", "--cached", "dvc.lock")
    repository.run("git", "commit", "-q", "-m", "no lock")
    assert refusal().startswith("error: the last commit has no params.yaml and dvc.lock")
    shutil.rmtree(repository.path / ".dvc")
    assert "is no clone of the project" in refusal()
