"""Going back to the last commit: its parameters, its report, and its results from DVC's cache.

Nothing of the workspace is lost. A finished run that is no experiment yet becomes one first. What
neither git, nor an experiment, nor the cache holds is moved aside.
"""

import itertools
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.output import Output
from dvc.repo import Repo
from dvc_data.hashfile import check, load
from dvc_objects.errors import ObjectFormatError
from scmrepo.exceptions import SCMError

from pokecam.common.errors import InputError
from pokecam.common.params import load_yaml

PARAMS, LOCK = "params.yaml", "dvc.lock"
BUSY = "DVC is running here: wait until it has ended, and try again"
UNSAVED = Path("unsaved")  # where files are moved that nothing else holds
LISTED_FILES = 5  # of those that are moved from the report


def restore(project: Path) -> Iterator[str]:
    """Go back to the last commit.

    Code, sources and all other files of the user stay as they are.

    Args:
        project: the top folder of the clone.

    Yields:
        Lines for the user: what was kept and under which name, what was moved, what is restored,
        and what `dvc repro` would have to compute.

    Raises:
        InputError: this is no clone with a commit that has a run, a merge is not finished, DVC is
            running, or dvc.yaml cannot be read.
    """
    _check_state(project)
    logging.getLogger("dvc").setLevel(logging.ERROR)
    aside = UNSAVED / f"{datetime.now():%Y-%m-%d-%H%M%S-%f}"
    yield from _attach_head(project)
    experiment = yield from _keep_run(project, aside)
    _restore_from_git(project, [PARAMS, LOCK])
    try:
        with Repo(str(project)) as repo:
            outputs = list(repo.index.outs)
            uncached = [_path(out) for out in outputs if not out.use_cache]
            yield from _move_changed_files(project, aside, uncached, experiment)
            _restore_from_git(project, uncached)
            for out in outputs:
                if out.use_cache and out.exists and not _is_in_cache(out):
                    _move(project, aside, _path(out))
                    yield f"{_path(out)} is not in DVC's cache: it is now {aside / _path(out)}"
            repo.checkout(force=True, allow_missing=True)
            missing = [_path(out) for out in outputs if out.use_cache and not out.exists]
            changed_stages = list(repo.status())
    except LockError:
        raise InputError(BUSY) from None
    except DvcException as error:
        raise InputError(f"DVC cannot read the pipeline: {error}: correct dvc.yaml") from error
    commit = _git(project, "log", "-1", "--format=%h %s").strip()
    yield f"params.yaml, dvc.lock, reports/, data/ and models/ are those of the commit {commit}"
    if missing:
        yield (
            f"DVC's cache does not have {', '.join(missing)} of that run: `dvc repro` computes it "
            "(about 3 minutes for the default parameters)"
        )
    elif changed_stages:
        yield (
            f"files of the pipeline differ from those of that run: `dvc repro` runs "
            f"{', '.join(changed_stages)}"
        )


def _check_state(project: Path) -> None:
    """Check that there is a commit to go back to, and that nobody is at work in the clone."""
    if not (project / ".dvc").is_dir():
        raise InputError(
            f"{project.resolve()} is no clone of the project: run this in its top folder"
        )
    if _git(project, "ls-tree", "--name-only", "HEAD", "--", PARAMS, LOCK).split() != [
        LOCK,
        PARAMS,
    ]:
        raise InputError(
            f"the last commit has no {PARAMS} and {LOCK}: run `dvc repro`, then "
            "`git add . && git commit`"
        )
    if _git(project, "ls-files", "--unmerged"):
        raise InputError(
            "a merge is not finished: finish it, or give it up with `git merge --abort`, and try "
            "again"
        )
    if _dvc_is_running(project):
        raise InputError(BUSY)


def _dvc_is_running(project: Path) -> bool:
    """Return whether a DVC runs a stage here. It notes its process in a file."""
    with suppress(FileNotFoundError, ValueError, psutil.Error):
        locks = json.loads((project / ".dvc" / "tmp" / "rwlock").read_bytes())
        readers = itertools.chain.from_iterable(locks.get("read", {}).values())
        holders = [*locks.get("write", {}).values(), *readers]
        for number in {int(holder["pid"]) for holder in holders if holder}:
            # After a killed DVC another program may have its number.
            if psutil.pid_exists(number) and "dvc" in " ".join(psutil.Process(number).cmdline()):
                return True
    return False


def _attach_head(project: Path) -> Iterator[str]:
    """Put git back on its branch, from which `dvc exp run` takes it while it runs (DVC 3.67).

    If that DVC was killed, the next commit would be on no branch.

    Yields:
        A line if the branch is not clear.
    """
    dvc_was_killed = _git(project, "for-each-ref", "refs/exps/exec/EXEC_BASELINE")
    if not dvc_was_killed or _git(project, "branch", "--show-current"):
        return
    branches = _git(
        project, "for-each-ref", "--points-at=HEAD", "--format=%(refname)", "refs/heads"
    )
    if len(branches.split()) == 1:
        _git(project, "symbolic-ref", "HEAD", branches.strip())
    else:
        yield "a killed DVC has left git on no branch: `git switch BRANCH` brings it back"


def _keep_run(project: Path, aside: Path) -> Generator[str, None, str | None]:
    """Make an experiment of a finished run, unless it is one already.

    Where that is impossible, the lock and the parameters are copied.

    Args:
        project: the top folder of the clone.
        aside: the folder to copy to, relative to it.

    Yields:
        Its name, or what is not kept. Nothing if the workspace has the run of the commit.

    Returns:
        The revision of the experiment.
    """
    _refresh(project, [PARAMS, LOCK])
    changed = _git(project, "diff", "--relative", "--name-only", "HEAD", "--", PARAMS, LOCK).split()
    if not changed:
        return None
    experiment = None
    try:
        with Repo(str(project)) as repo:
            experiment = _same_experiment(repo, project)
            # Saving computes hashes and writes them to dvc.lock. If stages had to run, that would
            # declare old results to be those of the new parameters.
            if experiment is None and not repo.status():
                experiment = _save_experiment(repo, project)
    except LockError:
        raise InputError(BUSY) from None
    except DvcException:  # dvc.lock is cut short, or params.yaml is no YAML
        pass
    except SCMError as error:
        yield f"DVC cannot make an experiment of the run: {error}"
    if experiment:
        name, revision = experiment
        yield (
            f"the run in the workspace is the experiment {name}: `dvc exp apply {name}` brings it "
            "back"
        )
        return revision
    if LOCK in changed and (project / LOCK).is_file():
        yield from _copy_lock(project, aside)
    try:
        changes = _options(project, _current_parameters(project))
    except InputError as error:
        _move(project, aside, PARAMS)
        yield f"no finished run to keep; {PARAMS} is {error}, it is now {aside / PARAMS}"
        return None
    again = f"; this starts it again: dvc exp run {changes}" if changes else ""
    yield f"the workspace has no finished run of its code and parameters to keep{again}"
    return None


def _copy_lock(project: Path, aside: Path) -> Iterator[str]:
    """Copy the lock and the parameters, because no experiment holds them.

    Yields:
        Where they are, and the command for the run of the report if it had other parameters.
    """
    names = [name for name in (LOCK, PARAMS) if (project / name).is_file()]
    (project / aside).mkdir(parents=True)
    for name in names:
        shutil.copy2(project / name, project / aside / name)
    yield f"copies of {' and '.join(names)} are in {aside}"
    recorded = _parameters_of_report(project)
    with suppress(InputError):
        if recorded == _current_parameters(project):
            return
    if changes := _options(project, recorded):
        yield (
            f"{LOCK} has a finished run of other parameters; this takes it from DVC's cache if the "
            f"code is the same: dvc exp run {changes}"
        )


def _parameters_of_report(project: Path) -> dict[str, Any]:
    """Return the parameters with which the report was written. They are in the lock."""
    text = (project / LOCK).read_text(encoding="utf-8", errors="replace")
    try:
        return dict(load_yaml(text)["stages"]["report"]["params"][PARAMS])
    except (InputError, KeyError, TypeError, ValueError):  # cut short, or not of DVC
        return {}


def _same_experiment(repo: Repo, project: Path) -> tuple[str, str] | None:
    """Return the name and revision of an experiment with the parameters and the lock in use."""
    for experiments in repo.experiments.ls(all_commits=True).values():
        for name, revision in experiments:
            if not _git(project, "diff", "--name-only", revision, "--", PARAMS, LOCK):
                return str(name), str(revision)
    return None


def _save_experiment(repo: Repo, project: Path) -> tuple[str, str]:
    """Save the workspace as an experiment, with new files of the report.

    Returns:
        Its name and revision.
    """
    uncached = [_path(out) for out in repo.index.outs if not out.use_cache]
    new_files = _git(project, "ls-files", "-z", "--others", "--", *uncached).split("\0")
    with _git_identity(project):
        revision = repo.experiments.save(include_untracked=[name for name in new_files if name])
    return str(repo.experiments.get_exact_name([revision])[revision]), str(revision)


@contextmanager
def _git_identity(project: Path) -> Iterator[None]:
    """Give the experiment an author where git has none, as in a fresh container."""
    name, email = (
        _git(project, "config", "--default", "", "--get", f"user.{key}").strip()
        for key in ("name", "email")
    )
    added: dict[str, str] = {}
    if not (name and email):
        for person in ("AUTHOR", "COMMITTER"):
            added[f"GIT_{person}_NAME"] = name or "pokecam restore"
            added[f"GIT_{person}_EMAIL"] = email or "pokecam@localhost"
    added = {key: value for key, value in added.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]


def _current_parameters(project: Path) -> dict[str, Any]:
    """Return the content of params.yaml, which may be missing.

    Raises:
        InputError: params.yaml is not valid YAML.
    """
    if not (project / PARAMS).is_file():
        return {}
    values = load_yaml((project / PARAMS).read_text(encoding="utf-8", errors="replace"))
    if not isinstance(values, dict):
        raise InputError("not a list of lines `name: value`")
    return values


def _options(project: Path, values: dict[str, Any]) -> str:
    """Return the parameters that differ from the commit, as options of `dvc exp run`."""
    committed = load_yaml(_git(project, "show", f"HEAD:./{PARAMS}"))
    return " ".join(
        "-S " + shlex.quote(f"{key}={_override(value)}")
        for key, value in values.items()
        if key not in committed or committed[key] != value
    )


def _override(value: Any) -> str:
    """Return a value as `-S` takes it."""
    if isinstance(value, str) and re.fullmatch(r"[\w./-]+", value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))


def _move_changed_files(
    project: Path, aside: Path, paths: Sequence[str], experiment: str | None
) -> Iterator[str]:
    """Move the files that neither the last commit nor an experiment holds.

    Args:
        project: the top folder of the clone.
        aside: the folder to move them to, relative to it.
        paths: the outputs that git holds.
        experiment: the revision of the experiment that the workspace is.

    Yields:
        A line with the names of the files, if there are any.
    """
    names = _changed_files(project, "HEAD", paths)
    if experiment:
        names &= _changed_files(project, experiment, paths)
    if not names:
        return
    for name in names:
        _move(project, aside, name)
    listed = ", ".join(sorted(names)[:LISTED_FILES])
    more = f" and {len(names) - LISTED_FILES} more" if len(names) > LISTED_FILES else ""
    yield f"neither the commit nor an experiment has {listed}{more}: now in {aside}"


def _changed_files(project: Path, revision: str, paths: Sequence[str]) -> set[str]:
    """Return the files of some paths that a revision does not have, or has with other content."""
    if not paths:
        return set()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        _git(project, "read-tree", revision, index=index)
        command = ("ls-files", "-z", "--modified", "--others", "--", *paths)
        names = _git(project, *command, index=index)
    return {name for name in names.split("\0") if name and os.path.lexists(project / name)}


def _restore_from_git(project: Path, paths: Sequence[str]) -> None:
    """Restore paths from the last commit, and remove what it does not have there.

    The index is restored as well: a `dvc exp run` that was killed may leave its change there.
    """
    if not paths:  # without paths git would clean the whole project
        return
    _refresh(project, paths)
    if names := _tracked(project, paths):
        _git(
            *(project, "restore", "--source=HEAD", "--staged", "--worktree"),
            *("--pathspec-from-file=-", "--pathspec-file-nul"),
            stdin="\0".join(names),
        )
    _git(project, "clean", "-f", "-d", "-x", "-q", "--", *paths)


def _tracked(project: Path, paths: Sequence[str]) -> list[str]:
    """Return the files of some paths that the last commit or the index has."""
    committed = _git(project, "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", *paths)
    indexed = _git(project, "ls-files", "-z", "--", *paths)
    return sorted(set(filter(None, (committed + indexed).split("\0"))))


def _refresh(project: Path, paths: Sequence[str]) -> None:
    """Give tracked files a new time.

    git compares time and size, and does not look at a file that DVC wrote twice within a second
    with the same length.
    """
    for name in _tracked(project, paths):
        with suppress(FileNotFoundError):
            os.utime(project / name, follow_symlinks=False)


def _path(out: Output) -> str:
    """Return the path of an output, relative to the project."""
    return Path(out.fs_path).relative_to(out.repo.root_dir).as_posix()


def _is_in_cache(out: Output) -> bool:
    """Return whether DVC's cache holds what the output contains now."""
    try:
        check(out.cache, load(out.cache, out.get_hash()))
    except (FileNotFoundError, ObjectFormatError):
        return False
    return True


def _move(project: Path, aside: Path, name: str) -> None:
    """Move a file or folder of the project to the same path below the folder `aside`."""
    target = project / aside / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(project / name, target)


def _git(project: Path, *words: str, stdin: str = "", index: Path | None = None) -> str:
    """Run git in the project and return its output.

    Args:
        project: the top folder of the clone.
        words: of the command.
        stdin: its input.
        index: a file to take for the index, in place of that of the clone.

    Raises:
        InputError: git fails or is not installed.
    """
    try:
        process = subprocess.run(
            ["git", "--literal-pathspecs", *words],
            cwd=project,
            env=os.environ | ({"GIT_INDEX_FILE": str(index)} if index else {}),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    except FileNotFoundError:
        raise InputError("git is not installed: install it and try again") from None
    if process.returncode:
        reason = process.stderr.strip().partition("\n")[0]
        raise InputError(f"git {words[0]} failed: {reason}: remove the cause and try again")
    return process.stdout
