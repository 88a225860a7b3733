"""The findings of the doctor on machines where something is missing."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pokecam.commands import cache, doctor
from pokecam.commands.doctor import State
from pokecam.common import running
from pokecam.data.sources import kaggle
from tests.conftest import PROJECT


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A clone with weights and requirements, without a network and without downloads."""
    shutil.copy(PROJECT / "requirements.txt", tmp_path)
    shutil.copytree(PROJECT / "datasets", tmp_path / "datasets")
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained" / "resnet18.safetensors").touch()
    (tmp_path / ".dvc").mkdir()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path


def last_findings(project):
    """Return about → its last finding."""
    return {finding.about: finding for finding in doctor.findings(project)}


def test_a_machine_without_network_is_told_what_still_works(project):
    findings = last_findings(project)
    assert not [finding for finding in findings.values() if finding.state is State.FAULT]
    source = findings["source: datasets/kaggle.yaml"]
    assert (source.state, "no network" in source.result) == (State.HINT, True)
    assert "source: datasets/drawn.yaml" in source.advice
    assert findings["weights: drawn"].result == "resnet18"
    assert findings["weights: imagenet"].state is State.HINT
    assert f"{running.usable_cores()} cores" in findings["processor"].result


def test_every_hint_and_fault_has_advice(project):
    for finding in last_findings(project).values():
        assert bool(finding.advice) == (finding.state is not State.FINE), finding


def test_a_link_to_nothing_in_the_source_is_found(project, tmp_path):
    """DVC reads the source before any stage runs, and its own message says less."""
    folder = tmp_path / "images" / "Ant"
    folder.mkdir(parents=True)
    parameters = f"source: {tmp_path / 'images'}\nimages_per_class: 1\ndraw_seed: 1\n"
    (tmp_path / "params.yaml").write_text(parameters)
    assert "source" not in last_findings(project)
    (folder / "a.png").symlink_to("nowhere.png")
    finding = last_findings(project)["source"]
    assert finding.state is State.FAULT
    assert "Ant/a.png is a link to nowhere.png" in finding.result


def test_downloads_are_found(project, monkeypatch):
    (project / "hub" / "checkpoints").mkdir(parents=True)
    (project / "hub" / "checkpoints" / "resnet18-f37072fd.pth").touch()
    monkeypatch.setattr(kaggle, "cached", lambda _: Path("/downloaded"))
    findings = last_findings(project)
    assert findings["weights: imagenet"].result == "resnet18"
    assert findings["source: datasets/kaggle.yaml"].result == "downloaded already: /downloaded"


def test_without_a_download_there_is_no_archive(project):
    assert kaggle.cached(project / "datasets" / "kaggle.yaml") is None


def test_a_missing_package_is_a_fault_and_another_version_a_hint(project, monkeypatch):
    real = doctor.importlib.metadata.version

    def version(name):
        if name == "dvc":
            raise doctor.importlib.metadata.PackageNotFoundError
        return "0.1" if name == "numpy" else real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    packages = [finding for finding in doctor.findings(project) if finding.about == "packages"]
    assert [finding.state for finding in packages] == [State.FAULT, State.HINT]
    assert "dvc" in packages[0].result
    assert "numpy 0.1 (locked: " in packages[1].result


def test_without_dvc_and_git_it_still_looks_at_the_rest(project, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "weights: imagenet" in last_findings(project)


def test_a_full_disk_and_missing_weights(project, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
    (project / "pretrained" / "resnet18.safetensors").unlink()
    findings = last_findings(project)
    assert findings["disk"].state is State.HINT
    assert "dvc gc" in findings["disk"].advice
    assert findings["weights: drawn"].state is State.FAULT


def test_interrupted_trainings_and_a_folder_that_is_no_clone(project):
    (project / "checkpoints").mkdir()
    (project / "checkpoints" / "abc.pt").touch()
    assert "1 interrupted" in last_findings(project)["checkpoints"].result
    shutil.rmtree(project / ".dvc")
    assert last_findings(project)["DVC"].state is State.FAULT


def cache_findings(project):
    return list(doctor.CHECKS["DVC's cache"](project))


def write_settings(project, text, name="config"):
    (project / ".dvc" / name).write_text(text)


def make_output(project, link):
    """Make an output of a stage that is connected with the cache by a link."""
    cached = project / ".dvc" / "cache" / "files" / "md5" / "ab" / "cd"
    cached.parent.mkdir(parents=True)
    cached.write_text("bytes")
    path = project / "data" / "raw.zip"
    path.parent.mkdir()
    link(cached, path)
    lock = "stages:\n  download:\n    outs:\n    - path: data/raw.zip\n      md5: abcd\n"
    (project / "dvc.lock").write_text("schema: '2.0'\n" + lock)


@pytest.mark.parametrize(
    ("link", "name"),
    [(os.link, "hardlink"), (os.symlink, "symlink"), (shutil.copy, "copy")],
    ids=["hardlink", "symlink", "copy"],
)
def test_the_links_of_outputs_in_place_count_not_the_settings(project, link, name):
    write_settings(project, "[cache]\n    type = copy\n")
    make_output(project, link)
    finding = last_findings(project)["DVC's cache"]
    assert finding.result.endswith(f"by {name}")
    assert finding.state is (State.FINE if name == "copy" else State.HINT)


@pytest.mark.parametrize(
    ("types", "system", "same_device", "expected"),
    [
        (["reflink", "copy"], "ext4", True, "copy"),
        (["reflink", "copy"], "btrfs", True, "reflink"),
        (["reflink", "copy"], "btrfs", False, "copy"),
        (["reflink", "hardlink", "copy"], "ext4", True, "hardlink"),
        (["hardlink", "copy"], "ext4", False, "copy"),
        (["hardlink", "symlink"], "ext4", False, "symlink"),
    ],
)
def test_the_first_link_that_should_work(
    project, monkeypatch, types, system, same_device, expected
):
    monkeypatch.setattr(cache, "_file_system", lambda _: system)
    folder = project if same_device else Path("/proc")
    if not folder.is_dir():
        pytest.skip("needs a second file system")
    assert cache.expected_link(project, folder / "missing" / "cache", types) == expected


def test_hard_links_are_said_to_lead_into_the_cache(project):
    write_settings(project, "[cache]\n    type = hardlink\n")
    finding = last_findings(project)["DVC's cache"]
    assert finding.state is State.HINT
    assert finding.result.endswith("by hardlink")
    assert "do not write into files of data/ and models/" in finding.advice


def test_a_cache_that_is_a_link_is_not_called_a_copy(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("share")
    (project / ".dvc" / "cache").symlink_to(elsewhere)
    make_output(project, os.symlink)
    finding = last_findings(project)["DVC's cache"]
    assert finding.result.endswith(f"/.dvc/cache → {elsewhere}, by symlink")


def test_a_missing_cache_is_named_and_not_made(project, tmp_path):
    folder = tmp_path / "share" / "cache"
    write_settings(project, f"[cache]\n    dir = {folder}\n", "config.local")
    for problem in ("does not exist", "is empty"):  # not mounted; mounted nothing
        finding = cache_findings(project)[0]
        assert finding.state is State.HINT
        assert finding.result == f"{folder} (cache.dir) {problem}"
        assert "mount" in finding.advice
        assert folder.exists() == (problem == "is empty")
        folder.mkdir(parents=True, exist_ok=True)


def test_a_default_cache_that_is_not_made_yet_is_fine(project):
    finding = last_findings(project)["DVC's cache"]
    assert finding.state is State.FINE
    assert "not made yet" in finding.result
    assert not (project / ".dvc" / "cache").exists()


def test_a_link_to_a_cache_that_is_not_mounted(project, tmp_path):
    (project / ".dvc" / "cache").symlink_to(tmp_path / "share")
    finding = last_findings(project)["DVC's cache"]
    assert (finding.state, "does not exist" in finding.result) == (State.FAULT, True)


def test_a_file_in_place_of_the_cache(project):
    (project / ".dvc" / "cache").touch()
    finding = last_findings(project)["DVC's cache"]
    assert (finding.state, "is not a folder" in finding.result) == (State.FAULT, True)


def test_a_read_only_cache_is_a_finding_and_the_next_checks_run(project, monkeypatch):
    make_output(project, shutil.copy)
    locked = project / ".dvc" / "cache" / "files"
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and real(path, mode))
    findings = cache_findings(project)
    assert findings[0].state is State.FAULT
    assert findings[0].result == f"{locked} cannot be written to"
    assert findings[1].result.endswith("by copy")
    assert "weights: imagenet" in last_findings(project)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        (b"[cache]\n    type = copy\n garbage\n", 3, "garbage"),
        (b"[core]\n\nno_such_setting = 1\n", 3, "no_such_setting"),
        (b"[cache]\ntype = nolink\n", 2, "nolink"),
        (b"[core]\n\xff\xfe = 1\n", 2, "decode"),
    ],
    ids=["syntax", "unknown setting", "wrong value", "encoding"],
)
def test_a_broken_config_is_named_with_its_line(project, text, line, word):
    (project / ".dvc" / "config.local").write_bytes(text)
    findings = last_findings(project)
    finding = findings["DVC's settings"]
    assert finding.state is State.FAULT
    for part in (".dvc/config.local", f"line {line}", word):
        assert part in finding.result
    assert "DVC's cache" not in findings
    assert "weights: imagenet" in findings


@pytest.mark.parametrize("about", doctor.CHECKS)
def test_a_check_that_fails_is_a_line_and_the_others_run(project, monkeypatch, about):
    def fail(_):
        yield doctor.Finding("first", State.FINE, "a finding before")
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setitem(doctor.CHECKS, about, fail)
    findings = last_findings(project)
    assert findings["first"].state is State.FINE
    assert findings[about].state is State.HINT
    assert "could not be checked: PermissionError" in findings[about].result
    assert "/somewhere" in findings[about].result
    if about != "weights: imagenet":
        assert "weights: imagenet" in findings


def test_without_a_repository_or_git(project, monkeypatch):
    shutil.rmtree(project / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    finding = last_findings(project)["git"]
    assert (finding.state, "not a git repository" in finding.result) == (State.FAULT, True)
    write_settings(project, "[core]\n    no_scm = true\n")
    assert "git" not in last_findings(project)
    monkeypatch.setenv("PATH", "")
    finding = last_findings(project)["git"]
    assert (finding.state, finding.result) == (State.HINT, "is not installed")


def files_of(folder):
    """Return every path below a folder → its bytes and times."""
    paths = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        is_file = path.is_file() and not path.is_symlink()
        content = path.read_bytes() if is_file else None
        paths[path.relative_to(folder)] = (content, stat.st_mtime_ns, stat.st_ctime_ns)
    return paths


@pytest.mark.parametrize("cache_folder", [None, "share/cache"], ids=["fresh clone", "missing"])
def test_the_command_writes_nothing(tmp_path, cache_folder):
    home, clone = tmp_path / "home", tmp_path / "clone"
    home.mkdir()
    shutil.copytree(PROJECT / "pokecam", clone / "pokecam", ignore=ignore_bytecode)
    shutil.copytree(PROJECT / "datasets", clone / "datasets")
    (clone / "data").mkdir()
    (clone / "data" / f".raw.zip.{2**22 + 1}.tmp").touch()  # of a process that does not run
    for name in ("requirements.txt", "dvc.yaml", "params.yaml", "dvc.lock", ".dvcignore"):
        shutil.copy(PROJECT / name, clone)
    (clone / ".dvc").mkdir()
    shutil.copy(PROJECT / ".dvc" / "config", clone / ".dvc")
    if cache_folder:
        write_settings(clone, f"[cache]\n    dir = {tmp_path / cache_folder}\n", "config.local")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=clone, check=True)
    os.utime(clone / "params.yaml")  # git would refresh its index
    before = files_of(tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "pokecam", "doctor"],
        cwd=clone,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "weights: imagenet" in run.stdout, run.stderr
    assert files_of(tmp_path) == before


def ignore_bytecode(_, names):
    return [name for name in names if name == "__pycache__"]


def test_the_command_looks_at_this_project():
    run = subprocess.run(
        [sys.executable, "-m", "pokecam", "doctor"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "weights: drawn: alexnet, mobilenet_v3_small, resnet18, vgg16, vgg19" in run.stdout
    assert "\033" not in run.stdout  # no terminal, no colour
