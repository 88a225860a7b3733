"""What the doctor finds, on machines that are not as they should be."""

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
    """A clone without a network, without anything fetched, with weights and a lock."""
    shutil.copy(PROJECT / "requirements.txt", tmp_path)
    shutil.copytree(PROJECT / "datasets", tmp_path / "datasets")
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained" / "resnet18.safetensors").touch()
    (tmp_path / ".dvc").mkdir()

    def refused(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path


def found(project):
    """about → finding; the last of each."""
    return {one.about: one for one in doctor.findings(project)}


def test_a_machine_without_network_is_told_what_still_works(project):
    all_of_it = found(project)
    assert not [one for one in all_of_it.values() if one.state is State.FAULT]
    source = all_of_it["source: datasets/kaggle.yaml"]
    assert (source.state, "no network" in source.found) == (State.HINT, True)
    assert "source: datasets/drawn.yaml" in source.advice
    assert all_of_it["weights: drawn"].found == "resnet18"
    assert all_of_it["weights: imagenet"].state is State.HINT
    assert f"{running.usable_cores()} cores" in all_of_it["processor"].found


def test_every_hint_and_fault_has_advice(project):
    for one in found(project).values():
        assert bool(one.advice) == (one.state is not State.FINE), one


def test_what_was_fetched_is_found(project, monkeypatch):
    (project / "hub" / "checkpoints").mkdir(parents=True)
    (project / "hub" / "checkpoints" / "resnet18-f37072fd.pth").touch()
    monkeypatch.setattr(kaggle, "cached", lambda _: Path("/fetched"))
    all_of_it = found(project)
    assert all_of_it["weights: imagenet"].found == "resnet18"
    assert all_of_it["source: datasets/kaggle.yaml"].found == "fetched already: /fetched"


def test_nothing_is_taken_for_fetched_that_is_not(project):
    assert kaggle.cached(project / "datasets" / "kaggle.yaml") is None


def test_a_missing_package_is_a_fault_and_another_version_a_hint(project, monkeypatch):
    real = doctor.importlib.metadata.version

    def version(name):
        if name == "dvc":
            raise doctor.importlib.metadata.PackageNotFoundError
        return "0.1" if name == "numpy" else real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    told = [one for one in doctor.findings(project) if one.about == "packages"]
    assert [one.state for one in told] == [State.FAULT, State.HINT]
    assert "dvc" in told[0].found
    assert "numpy 0.1 (locked: " in told[1].found


def test_without_dvc_and_git_it_still_looks_at_the_rest(project, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "weights: imagenet" in found(project)


def test_a_full_disk_and_missing_weights(project, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
    (project / "pretrained" / "resnet18.safetensors").unlink()
    all_of_it = found(project)
    assert all_of_it["disk"].state is State.HINT
    assert "dvc gc" in all_of_it["disk"].advice
    assert all_of_it["weights: drawn"].state is State.FAULT


def test_interrupted_trainings_and_a_folder_that_is_no_clone(project):
    (project / "checkpoints").mkdir()
    (project / "checkpoints" / "abc.pt").touch()
    assert "1 interrupted" in found(project)["checkpoints"].found
    shutil.rmtree(project / ".dvc")
    assert found(project)["DVC"].state is State.FAULT


def test_links_are_tried_and_leave_nothing(project):
    cache = project / "cache"
    assert doctor._link(cache, project) in ("reflink", "hardlink")
    assert not any(cache.iterdir())
    assert not list(project.glob("*.tmp"))


def test_where_no_link_works_it_says_copy(project, monkeypatch):
    def refused(*_):
        raise OSError

    monkeypatch.setattr(doctor, "_succeeds", lambda _: False)
    monkeypatch.setattr(doctor.os, "link", refused)
    assert doctor._link(project / "cache", project) == "copy"


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
