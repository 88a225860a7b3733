"""`python -m pokecam restore` with the real `dvc`, from every state a user can be in.

After it the parameters, the lock and the report are those of the commit, git has nothing to say,
and whatever DVC's cache holds of the committed run is back. Nothing that took work is lost.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from tests.project.test_faults import program_of, started, wait_for
from tests.support.repository import Repository, draw_images

NOT_IN_CACHE = "DVC's cache does not have"
NOT_KEPT = "the workspace has no finished run of its code and parameters to keep"
USER_COLOURS = {"cat": (90, 60, 30), "lynx": (30, 60, 90)}


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def results(repository: Repository) -> dict[str, bytes]:
    """What the pipeline has written, with its parameters."""
    paths = [repository.path / name for name in ("data", "models", "reports")]
    files = {f"{path.name}/{name}": data for path in paths for name, data in contents(path).items()}
    top_files = {
        name: (repository.path / name).read_bytes() for name in ("params.yaml", "dvc.lock")
    }
    return files | top_files


def experiment_name(output: str) -> str:
    """The experiment that the command names."""
    return re.search(r"is the experiment (\S+): `dvc exp apply (\1)` brings it back", output)[1]


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
    lock_of_this_machine = path.read_bytes()
    lock = yaml.safe_load(lock_of_this_machine)
    for stage in ("train", "evaluate", "cam", "judge", "report"):
        for entry in [*lock["stages"][stage]["outs"], *lock["stages"][stage].get("deps", [])]:
            if entry["path"].startswith(("models/c", "models/h", "data/e", "data/c", "data/j")):
                folder = ".dir" if entry["md5"].endswith(".dir") else ""
                entry["md5"] = f"{entry['md5'][:20]}{'0' * 12}{folder}"
    path.write_text(yaml.safe_dump(lock))
    repository.commit("run of another machine")
    path.write_bytes(lock_of_this_machine)


def test_a_clone_in_which_nothing_has_run(finished, tmp_path):
    clone = Repository(tmp_path / "clone")
    subprocess.run(["git", "clone", "-q", finished.path, clone.path], check=True)
    output = clone.pokecam("restore")
    assert NOT_IN_CACHE in output
    assert NOT_KEPT not in output
    assert clone.run("git", "status", "--porcelain") == ""


def test_after_the_first_run_that_gave_other_bytes(repository):
    """What the cache has comes back, the rest is named, and the run of this machine is kept."""
    commit_a_run_of_another_machine(repository)
    run_of_this_machine = results(repository)
    output = repository.pokecam("restore")
    assert f"{NOT_IN_CACHE} models/classifier.safetensors" in output
    assert repository.run("git", "status", "--porcelain") == ""
    assert not list((repository.path / "models").glob("class*"))
    assert not (repository.path / "data" / "cams").exists()
    for name in ("data/raw.zip", "data/split.csv", "models/pretrained.safetensors"):
        assert (repository.path / name).read_bytes() == run_of_this_machine[name]
    answer = repository.pokecam("compare", "HEAD", "workspace", ok=False)
    assert "its run cannot be read here. Commit a run of yours" in answer
    repository.run("dvc", "exp", "apply", experiment_name(output))
    assert results(repository) == run_of_this_machine
    assert repository.run("dvc", "status") == "Data and pipelines are up to date.\n"


def test_after_an_experiment_and_after_a_run_that_is_none(repository):
    """`dvc exp run` has made an experiment, whose name is printed; `dvc repro` has not."""
    before = results(repository)
    repository.run("dvc", "exp", "run", "-n", "few", "-S", "judge_images=2")
    assert experiment_name(repository.pokecam("restore")) == "few"
    check_back(repository, before)
    repository.set(judge_images=1)
    assert set(repository.repro()) == {"check", "judge", "report"}
    changed = results(repository)
    name = experiment_name(repository.pokecam("restore"))
    check_back(repository, before)
    repository.run("dvc", "exp", "apply", name)
    assert results(repository) == changed
    assert experiment_name(repository.pokecam("restore")) == name
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
    output = repository.pokecam("restore")
    assert NOT_KEPT in output
    assert "dvc exp run -S split_seed=3 -S backbone=squeezenet1_9" in output
    assert notes.read_text() == "of the user"
    notes.unlink()
    assert repository.run("git", "status", "--porcelain").split() == ["M", "pokecam/__init__.py"]
    repository.run("git", "checkout", "pokecam")
    check_back(repository, before)


def unsaved_folder(output: str) -> str:
    """The folder that a line of the command names."""
    (folder,) = set(re.findall(r"unsaved/[\d-]+", output))
    return folder


@pytest.mark.parametrize("change", ["a parameter", "code"])
def test_after_a_finished_run_and_a_change(repository, change):
    """The run is no experiment, and cannot become one: it is no run of the workspace any more."""
    before = results(repository)
    repository.set(judge_images=1)
    repository.repro()
    changed = results(repository)
    code = repository.path / "pokecam" / "common" / "errors.py"
    if change == "a parameter":
        repository.set(judge_images=2)
    else:
        code.write_text(code.read_text() + "\n")
    output = repository.pokecam("restore")
    folder = repository.path / unsaved_folder(output)
    report = {name for name in changed if name.startswith("reports/")}
    changed_files = {name for name in report if changed[name] != before.get(name)}
    assert "reports/metrics.json" in changed_files
    for name in {"dvc.lock", *changed_files}:
        assert (folder / name).read_bytes() == changed[name]
    values = yaml.safe_load((folder / "params.yaml").read_text())
    assert values["judge_images"] == (2 if change == "a parameter" else 1)
    assert "dvc exp run -S judge_images=1" in output
    repository.run("git", "checkout", "-q", "pokecam")
    check_back(repository, before)
    assert repository.experiment("judge_images=1") == ["report"]
    assert results(repository) == changed


@pytest.mark.parametrize("finished_run", ["of the commit", "of an experiment"])
def test_files_of_the_user_in_the_report_are_moved_aside(repository, finished_run):
    before = results(repository)
    if finished_run == "of an experiment":
        repository.experiment("judge_images=1")
    texts = {"reports/README.md": "my notes", "reports/images/mine.txt": "mine"}
    for name, text in texts.items():
        (repository.path / name).write_text(text)
    output = repository.pokecam("restore")
    (line,) = [line for line in output.splitlines() if "mine.txt" in line]
    folder = repository.path / unsaved_folder(line)
    assert contents(folder) == {name: text.encode() for name, text in texts.items()}
    assert "reports/README.md" in line
    check_back(repository, before)


def test_a_run_becomes_an_experiment_where_git_has_no_identity(repository, tmp_path):
    before = results(repository)
    repository.set(judge_images=1)
    repository.repro()
    changed = results(repository)
    names = [f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    without = [word for name in names for word in ("-u", name)]
    command = (sys.executable, "-m", "pokecam", "restore")
    output = repository.run("env", *without, f"HOME={tmp_path}", *command)
    check_back(repository, before)
    repository.run("dvc", "exp", "apply", experiment_name(output))
    assert results(repository) == changed


def test_names_with_a_comma_and_a_blank_in_the_printed_command(repository):
    names = ["Mime, Mr.", "Farfetch'd", 'the "great" one', "Ant"]
    repository.set(classes=names, lookalikes=[names[:2]])
    (command,) = re.findall(r"dvc exp run (.*)", repository.pokecam("restore"))
    overrides = [word for word in shlex.split(command) if word != "-S"]
    apply_overrides(repository.path / "params.yaml", overrides)
    values = yaml.safe_load((repository.path / "params.yaml").read_text())
    assert values["classes"] == names
    assert values["lookalikes"] == [names[:2]]


def test_after_the_cache_was_emptied(repository):
    """The run of the commit was computed in this clone, so the line does not deny it."""
    repository.experiment("judge_images=1")
    repository.run("dvc", "gc", "--workspace", "--force")
    output = repository.pokecam("restore")
    assert f"{NOT_IN_CACHE} data/judgement of that run: `dvc repro` computes it" in output
    assert repository.run("git", "status", "--porcelain") == ""


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
    output = repository.pokecam("restore")
    assert f"{NOT_KEPT}; this starts it again: dvc exp run -S seed=7" in output
    check_back(repository, before)


@pytest.mark.slow
def test_after_images_of_the_user_nothing_of_them_is_left_for_git(repository, tmp_path):
    """Nor are exported networks, painted images and pages of comparison."""
    before = results(repository)
    draw_images(tmp_path / "images", USER_COLOURS, 12)
    changes = (f"source={tmp_path / 'own'}", "classes=all", "lookalikes=[[cat,lynx]]")
    repository.experiment(*changes)
    assert (repository.path / "reports" / "images" / "lynx.jpg").exists()
    user_run = results(repository)
    for name in ("image.jpg", "b.png"):
        shutil.copy(tmp_path / "images" / "lynx" / "00.png", tmp_path / name)
    repository.pokecam("explain", str(tmp_path / "image.jpg"))
    repository.pokecam("export", "model.onnx")
    repository.pokecam("compare", "workspace", "workspace")
    name = experiment_name(repository.pokecam("restore"))
    check_back(repository, before)
    repository.run("git", "add", "-A")
    assert repository.run("git", "diff", "--cached", "--name-only") == ""
    assert (repository.path / "model.onnx").exists()
    repository.run("dvc", "exp", "apply", name)
    assert results(repository) == user_run


def test_after_a_split_of_the_user(repository):
    """The file is an input of the user, and stays."""
    before = results(repository)
    split = (repository.path / "data" / "split.csv").read_text()
    moved = re.sub(r"(Ant/\d+\.png,Ant),train", r"\1,test", split, count=1)
    (repository.path / "my-split.csv").write_text(moved)
    repository.set(split_file="my-split.csv")
    repository.run("dvc", "repro", "split")
    assert (repository.path / "data" / "split.csv").read_text() == moved
    output = repository.pokecam("restore")
    assert f"{NOT_KEPT}; this starts it again: dvc exp run -S split_file=my-split.csv" in output
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
    output = repository.pokecam("restore")
    (aside,) = re.findall(r"data/split.csv is not in DVC's cache: it is now (\S+)", output)
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
    output = repository.pokecam("restore")
    (aside,) = re.findall(r"params.yaml is not valid YAML: .*, it is now (\S+)", output)
    assert (repository.path / aside).read_text() == "seed: [1"
    check_back(repository, before)


def test_what_stands_in_the_way_is_named(repository):
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
