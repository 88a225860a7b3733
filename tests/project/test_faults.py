"""A pipeline that is killed, robbed of its disk or its cache, or run twice: with the real dvc.

Whatever happens, there is a clear message, and the next `dvc repro` ends with the `dvc.lock` of
an undisturbed run. The long form tries 81 kills: `pytest -m slow tests/project/test_faults.py`.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml
from dvc.utils.serialize import modify_yaml

from pokecam.commands import doctor
from pokecam.common.files import _TEMPORARY_NAME
from tests.support.repository import ALL, Repository, executed_stages

WRITTEN = ("data", "models", "checkpoints", "reports")
# What a stage of the tiny pipeline may take; the moment of a kill lies within it, or soon after,
# while DVC stores the outputs.
SECONDS = {"train": 2.5, "judge": 2.5, "report": 1.5}
ORPHAN_S = 10.0


@contextmanager
def started(repository: Repository, *command: str) -> Iterator[subprocess.Popen]:
    """A command in a session of its own, so that signals reach it and its children alone."""
    with repository.start(*command) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(what, seconds: float, why: str):
    """Wait until `what()` is true; return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, why
        time.sleep(0.01)
    return found


def program_of(stage: str, dvc: subprocess.Popen) -> psutil.Process | None:
    """The stage's own process, once `dvc` has started it."""
    try:
        below = psutil.Process(dvc.pid).children(recursive=True)
        return next((p for p in below if p.cmdline()[1:3] == ["-m", f"stages.{stage}"]), None)
    except psutil.Error:
        return None


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill(repository: Repository, stage: str, victim: str, after_s: float) -> bool:
    """Run one stage anew and kill the stage, the dvc, or both, so long after it began. True if
    the dvc had not ended by itself before."""
    with started(repository, "dvc", "repro", "--force", "--single-item", stage) as dvc:
        program = wait_for(
            lambda: program_of(stage, dvc) or dvc.poll() is not None, 60, f"{stage} did not start"
        )
        if program is True:
            assert dvc.returncode == 0, dvc.communicate()[0]
            return False
        time.sleep(after_s)
        in_time = dvc.poll() is None
        for one in {"stage": [program], "dvc": [dvc], "both": [dvc, program]}[victim]:
            with suppress(psutil.NoSuchProcess):  # it was done
                one.kill()
        wait_for(lambda: gone(program), ORPHAN_S, f"{stage} outlived its dvc by {ORPHAN_S} s")
        dvc.wait(timeout=60)
        return in_time


def half_written(repository: Repository) -> list[Path]:
    """Temporary files, and the work of a `select` that was not finished. A training's is kept for
    whoever goes back to its parameters."""
    found = [path for top in WRITTEN for path in (repository.path / top).rglob("*")]
    return [
        path
        for path in found
        if _TEMPORARY_NAME.fullmatch(path.name) or path.name.startswith("select-")
    ]


def do_as_the_doctor_says(repository: Repository) -> list[str]:
    """What a user is told to do about the files of a DVC that was killed while it wrote them."""
    findings = list(doctor.written_in_place(repository.path))
    for one in findings:
        repository.run(*re.search("`(.+?)`", one.advice)[1].split())
    return [one.about for one in findings]


def check_recovers(repository: Repository, lock: bytes, *, dvc_killed: bool = False) -> None:
    """The next run ends as an undisturbed one, and leaves nothing behind.

    dvc_killed: while it wrote dvc.lock in place, perhaps. That may leave its first entries, whole;
        the others come back from the cache, but in the order in which they were asked for.
    """
    repository.run("dvc", "repro")
    if dvc_killed and repository.lock() != lock:
        assert yaml.safe_load(repository.lock()) == yaml.safe_load(lock)
        repository.run("git", "checkout", "dvc.lock")
    assert repository.lock() == lock
    assert repository.run("git", "status", "--porcelain") == ""
    assert repository.run("dvc", "status") == "Data and pipelines are up to date.\n"
    assert not half_written(repository)


@pytest.mark.parametrize(
    ("stages", "times"),
    [
        (["select", "train", "report"], 1),
        pytest.param(ALL, 9, marks=pytest.mark.slow),
    ],
    ids=["short", "long"],
)
def test_killed_at_random_moments_the_next_run_ends_as_an_undisturbed_one(
    repository, stages, times
):
    lock = repository.lock()
    chance = random.Random(times)
    killed, mended = 0, []
    for number, stage in enumerate(stages):
        for turn in range(times):
            victim = ["both", "stage", "dvc"][(number + turn) % 3]
            after_s = chance.uniform(0, SECONDS.get(stage, 1.5))
            killed += kill(repository, stage, victim, after_s)
            mended += do_as_the_doctor_says(repository)
        repository.run("dvc", "repro", "--force", "--single-item", stage)  # not from the cache
    check_recovers(repository, lock, dvc_killed=True)
    print(f"{killed} of {times * len(stages)} were killed before they ended; mended: {mended}")
    assert killed >= times * len(stages) / 2


@pytest.mark.parametrize(
    ("file", "bytes_kept", "about"),
    [
        ("dvc.lock", 0, "dvc.lock"),
        ("dvc.lock", 40, "dvc.lock"),
        (".dvc/tmp/rwlock", 0, "DVC's locks"),
    ],
    ids=["lock emptied", "lock cut", "locks emptied"],
)
def test_dvc_killed_while_it_writes_in_place(repository, file, bytes_kept, about):
    """DVC then refuses in a line, and what the doctor says brings everything back."""
    lock = repository.lock()
    os.truncate(repository.path / file, bytes_kept)
    told = repository.run("dvc", "repro", ok=False)
    assert Path(file).name in told
    assert "Traceback" not in told
    told = repository.pokecam("doctor", ok=False)
    assert re.search(f"FAULT +{about}: .*\n? *.*a dvc was killed while it wrote it", told), told
    assert do_as_the_doctor_says(repository) == [about]
    check_recovers(repository, lock)
    assert do_as_the_doctor_says(repository) == []


def test_dvc_killed_between_two_entries_of_its_lock(repository):
    """Such a file is whole as far as DVC can tell; what it lacks comes back from the cache."""
    lock = repository.lock()
    (repository.path / "dvc.lock").write_bytes(lock[: lock.index(b"  train:")])
    repository.run("dvc", "repro", "--force", "--single-item", "report")
    assert list(yaml.safe_load(repository.lock())["stages"])[-1] == "report"
    check_recovers(repository, lock, dvc_killed=True)


@pytest.mark.slow
def test_the_whole_pipeline_killed_in_a_clone_without_a_cache(finished, tmp_path):
    """DVC and the stage die together, as when a machine is switched off, a few times on the way."""
    clone = Repository(tmp_path / "clone")
    subprocess.run(["git", "clone", "-q", finished.path, clone.path], check=True)
    lock = clone.lock()
    (clone.path / "dvc.lock").unlink()
    for stage in ("download", "weights", "judge"):
        with started(clone, "dvc", "repro") as dvc:
            wait_for(lambda s=stage, d=dvc: program_of(s, d), 90, f"{stage} did not start")
            time.sleep(0.3)
            os.killpg(dvc.pid, signal.SIGKILL)
    check_recovers(clone, lock)


@pytest.mark.parametrize("when", ["in its imports", "between epochs"])
def test_ctrl_c_and_once_more(repository, when):
    """The first asks, the second does not wait; a terminal sends both to dvc and the stage."""
    lock = repository.lock()
    with modify_yaml(repository.path / "params.yaml") as params:
        params["epochs"] = 500
    with started(repository, "dvc", "repro", "--force", "--single-item", "train") as dvc:
        train = wait_for(lambda: program_of("train", dvc), 60, "train did not start")
        if when == "in its imports":
            wait_for(lambda: train.num_threads() > 1, 60, "train does not watch its dvc")
        else:
            saved = repository.path / "checkpoints"
            wait_for(lambda: list(saved.glob("*.pt")), 60, "train saved no epoch")
        for _ in range(2):
            os.killpg(dvc.pid, signal.SIGINT)
            time.sleep(0.3)
        told = dvc.communicate(timeout=60)[0]
    assert dvc.returncode != 0
    assert "Traceback" not in told
    repository.run("git", "checkout", "params.yaml")
    check_recovers(repository, lock)


def test_two_at_once(repository):
    """The second says who holds the lock, and the first is not disturbed."""
    lock = repository.lock()
    with started(repository, "dvc", "repro", "--force", "--single-item", "train") as dvc:
        wait_for(lambda: program_of("train", dvc), 60, "train did not start")
        told = repository.run("dvc", "repro", ok=False)
        assert re.search("lock|busy", told)
        assert "Traceback" not in told
        assert dvc.wait(timeout=120) == 0
    check_recovers(repository, lock)


@pytest.mark.slow
def test_experiments_in_a_queue_with_two_workers(repository):
    for seed in (5, 6):
        repository.run("dvc", "exp", "run", "--queue", "-n", f"seed-{seed}", "-S", f"seed={seed}")
    repository.run("dvc", "exp", "run", "--queue", "-n", "wrong", "-S", "epochs=0")
    repository.run("dvc", "queue", "start", "-j", "2")
    status = wait_for(
        lambda: re.search(
            r"(?s)^(?!.*(Queued|Running)).*", repository.run("dvc", "queue", "status")
        ),
        300,
        "the queue did not end",
    )[0]
    assert sorted(re.findall(r"seed-\d|wrong", status)) == ["seed-5", "seed-6", "wrong"]
    assert re.search(r"wrong .*Failed", status)
    assert "epochs: 0 was given" in repository.run("dvc", "queue", "logs", "wrong")
    assert repository.run("git", "status", "--porcelain") == ""
    repository.run("dvc", "exp", "apply", "seed-5")
    assert yaml.safe_load((repository.path / "params.yaml").read_text())["seed"] == 5
    assert repository.repro() == []


@pytest.mark.parametrize(
    "damage",
    ["other bytes", *(pytest.param(one, marks=pytest.mark.slow) for one in ("cut", "gone"))],
)
def test_a_damaged_cache_is_noticed_and_made_again(repository, damage):
    lock = repository.lock()
    outs = yaml.safe_load(lock)["stages"]["train"]["outs"]
    (md5,) = [out["md5"] for out in outs if out["path"] == "models/classifier.safetensors"]
    cached = repository.path / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    data = cached.read_bytes()
    cached.unlink()
    if damage != "gone":
        cached.write_bytes(data[:-9] if damage == "cut" else data[:-9] + bytes(9))
    (repository.path / "models" / "classifier.safetensors").unlink()
    assert executed_stages(repository.run("dvc", "repro")) == ["train"]
    assert (repository.path / "models" / "classifier.safetensors").read_bytes() == data
    check_recovers(repository, lock)


# A disk of its own in a mount namespace, which needs no rights where user namespaces are allowed.
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


@pytest.fixture
def mounts():
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs Linux and unshare")
    tried = subprocess.run(
        [*NAMESPACE, "mount -t tmpfs none /tmp"], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("needs user namespaces, to mount a small disk")


@pytest.mark.parametrize(
    ("folder", "kib", "stage"),
    [("data", 8, "download"), ("data", 100, "select"), ("models", 1000, "train")],
)
def test_a_full_disk(repository, mounts, folder, kib, stage):
    lock = repository.lock()
    outputs = " ".join(f"'{out['path']}'" for out in yaml.safe_load(lock)["stages"][stage]["outs"])
    shell = (
        f"mkdir ../kept && cp -a {folder}/. ../kept && mount -t tmpfs -o size=64m none {folder} && "
        f"cp -a ../kept/. {folder} && rm -rf {outputs} && "
        f"mount -o remount,size=$(( $(du -sk {folder} | cut -f1) + {kib} ))k {folder} && "
        f"{sys.executable} -m stages.{stage}"
    )
    told = repository.run(*NAMESPACE, shell, ok=False)
    assert re.search("^error: the disk is full: .*make room", told, flags=re.MULTILINE)
    assert "Traceback" not in told
    repository.run("dvc", "repro", "--force", "--single-item", stage)
    check_recovers(repository, lock)


@pytest.mark.parametrize(
    ("folder", "stage"), [("data", "split"), ("models", "train"), ("reports", "report")]
)
def test_a_folder_that_cannot_be_written(repository, mounts, folder, stage):
    lock = repository.lock()
    shell = (
        f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && dvc repro --force"
    )
    told = repository.run(*NAMESPACE, shell, ok=False)
    assert re.search(r"Read-only file system", told)
    assert "Traceback" not in told
    check_recovers(repository, lock)
