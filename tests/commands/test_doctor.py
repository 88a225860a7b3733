"""The findings of the doctor on machines where something is missing."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pokecam.commands import doctor
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


LINKS = ["reflink", "hardlink", "copy"]


def test_links_are_tried_in_the_configured_order_and_leave_nothing(project):
    cache = project / "cache"
    assert doctor._link(cache, project, LINKS) in ("reflink", "hardlink")
    assert doctor._link(cache, project, ["hardlink", "reflink"]) == "hardlink"
    assert doctor._link(cache, project, ["symlink"]) == "symlink"
    assert doctor._link(cache, project, ["copy"]) == "copy"
    assert not any(cache.iterdir())
    assert not list(project.glob("*.tmp"))


def test_where_no_link_works_it_says_copy(project, monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(doctor, "_succeeds", lambda _: False)
    monkeypatch.setattr(doctor.os, "link", refuse)
    assert doctor._link(project / "cache", project, LINKS) == "copy"


def test_hard_links_are_said_to_lead_into_the_cache(project):
    config = "[core]\n    no_scm = true\n[cache]\n    type = hardlink\n"
    (project / ".dvc" / "config").write_text(config)
    finding = last_findings(project)["DVC's cache"]
    assert finding.state is State.HINT
    assert finding.result.endswith("by hardlink")
    assert "do not write into files of data/ and models/" in finding.advice


def test_the_command_looks_at_this_project():
    run = subprocess.run(
        [sys.executable, "-m", "pokecam", "doctor"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "weights: drawn: mobilenet_v3_small, resnet18" in run.stdout
    assert "\033" not in run.stdout  # no terminal, no colour
