"""What docs/sharing.md says, with the real `dvc`: one clone pushes, another has it all.

The tiny pipeline runs once, and then two experiments on it; every remote is
given the same results, and every test has clones of its own.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support import stores
from tests.support.repository import Repository, copy_repository, executed_stages
from tests.support.stores import Store

EVERYTHING = ("--run-cache", "--all-commits")
BOTH, ONE = "cam_methods=[cam,finer_cam]", "cam_methods=[grad_cam]"
KNOWN_TO_DVC_ALONE = "judge_images=2"


@pytest.fixture(scope="module")
def yours(finished, tmp_path_factory) -> Repository:
    """A clone with two commits of results, and an experiment `other` that was never committed."""
    base = tmp_path_factory.mktemp("yours")
    repository = copy_repository(finished, base / "repository")
    repository.run("git", "init", "-q", "--bare", str(base / "origin.git"))
    repository.run("git", "remote", "add", "origin", str(base / "origin.git"))
    assert repository.experiment(ONE) == ["check", "cam", "judge", "report"]
    repository.commit("Grad-CAM alone")
    assert repository.experiment(BOTH) == ["report"]
    repository.commit("both again")
    repository.run("dvc", "exp", "run", "-n", "other", "-S", KNOWN_TO_DVC_ALONE)
    leave(repository)
    repository.run("git", "push", "-q", "origin", "HEAD")
    return repository


@pytest.fixture(
    scope="module",
    params=["directory", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "ssh"))],
)
def store(request, yours, tmp_path_factory) -> Iterator[Store]:
    """A remote to which `yours` has pushed all there is."""
    with stores.OPEN[request.param](tmp_path_factory.mktemp("store")) as opened:
        connect(yours, opened)
        yours.run("dvc", "push", *EVERYTHING)
        yours.run("dvc", "exp", "push", "origin", "other")
        yield opened


@pytest.fixture
def filled(yours, tmp_path) -> Store:
    """A directory of this test's own to which `yours` has pushed what is committed."""
    filled = Store(str(tmp_path / "store"))
    connect(yours, filled)
    yours.run("dvc", "push", *EVERYTHING)
    return filled


def connect(repository: Repository, store: Store) -> None:
    """As docs/sharing.md says: in .dvc/config.local, so that it counts for every commit."""
    repository.run("dvc", "remote", "add", "--local", "--force", "-d", "store", store.url)
    for name, value in ({"verify": "true"} | store.settings).items():
        repository.run("dvc", "remote", "modify", "--local", "store", name, value)


def clone(yours: Repository, path: Path, store: Store) -> Repository:
    yours.run("git", "clone", "-q", str(yours.path.parent / "origin.git"), str(path))
    repository = Repository(path)
    connect(repository, store)
    return repository


def leave(repository: Repository) -> None:
    """Go back after an experiment, as the README says."""
    repository.run("touch", "params.yaml")
    repository.run("git", "checkout", "-q", "params.yaml", "dvc.lock", "reports")
    repository.run("dvc", "checkout", "-q")


def test_in_a_clone_nothing_is_computed_again(yours, store, tmp_path):
    mine = clone(yours, tmp_path / "mine", store)
    mine.run("dvc", "pull", *EVERYTHING)
    assert mine.repro() == []
    assert mine.run("git", "status", "--porcelain") == ""
    lock = mine.lock()
    mine.set(cam_methods=["grad_cam"])
    assert mine.repro() == ["report"]
    assert mine.lock().decode() == mine.run("git", "show", "HEAD~1:dvc.lock")
    assert mine.experiment(BOTH) == ["report"]
    assert mine.lock() == lock


def test_an_experiment_that_was_never_committed_is_pulled_and_applied(yours, store, tmp_path):
    mine = clone(yours, tmp_path / "mine", store)
    mine.run("dvc", "pull", "--run-cache")
    mine.run("dvc", "exp", "pull", "origin", "other")
    mine.run("dvc", "exp", "apply", "other")
    assert yaml.safe_load((mine.path / "params.yaml").read_text())["judge_images"] == 2
    assert mine.repro() == []
    leave(mine)
    assert mine.experiment(KNOWN_TO_DVC_ALONE) == ["report"]


@pytest.mark.slow
def test_without_a_pull_what_is_missing_is_fetched_as_it_is_needed(yours, filled, tmp_path):
    mine = clone(yours, tmp_path / "mine", filled)
    assert executed_stages(mine.run("dvc", "exp", "run", "--pull", "-S", ONE)) == ["report"]


@pytest.mark.slow
def test_images_that_are_on_another_machine_are_not_needed(yours, filled, tmp_path):
    mine = clone(yours, tmp_path / "mine", filled)
    source = Path(yaml.safe_load((mine.path / "params.yaml").read_text())["source"])
    elsewhere = source.rename(source.with_name("elsewhere"))
    try:
        mine.run("dvc", "pull", *EVERYTHING)
        assert str(source) in mine.run("dvc", "repro", ok=False)
        assert executed_stages(mine.run("dvc", "repro", "--allow-missing")) == []
        assert executed_stages(mine.run("dvc", "exp", "run", "--allow-missing", "-S", ONE)) == [
            "report"
        ]
    finally:
        elsewhere.rename(source)


@pytest.mark.parametrize("verify", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_changed_network_in_the_remote_is_refused_with_verify_only(
    yours, filled, tmp_path, verify
):
    """Without `verify` DVC takes a file for what it is called: why docs/sharing.md asks for it."""
    outs = yaml.safe_load(yours.lock())["stages"]["train"]["outs"]
    md5 = next(out["md5"] for out in outs if out["path"] == "models/classifier.safetensors")
    kept = Path(filled.url, "files", "md5", md5[:2], md5[2:])
    content = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    kept.chmod(0o444)  # as DVC leaves it: it looks again at what is writable
    mine = clone(yours, tmp_path / "mine", filled)
    mine.run("dvc", "remote", "modify", "--local", "store", "verify", str(verify).lower())
    told = mine.run("dvc", "pull", ok=not verify)
    assert (mine.path / "models" / "classifier.safetensors").exists() == (not verify)
    if verify:
        assert "models/classifier.safetensors" in told
    else:
        assert "up to date" in mine.run("dvc", "status")


@pytest.mark.slow
def test_a_push_leaves_out_experiments_that_were_never_committed(yours, filled, tmp_path):
    mine = clone(yours, tmp_path / "mine", filled)
    mine.run("dvc", "pull", *EVERYTHING)
    assert mine.experiment(KNOWN_TO_DVC_ALONE) == ["judge", "report"]


@pytest.mark.slow
def test_a_remote_in_the_committed_configuration_counts_from_that_commit_on(yours, tmp_path):
    mine = clone(yours, tmp_path / "mine", Store(str(tmp_path / "unused")))
    mine.run("dvc", "remote", "add", "late", str(tmp_path / "late"))
    mine.commit("a remote")
    told = mine.run("dvc", "push", "-r", "late", "--all-commits")
    assert told.count("failed to collect") == len(mine.run("git", "rev-list", "HEAD~1").split())
