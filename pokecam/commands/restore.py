"""Going back to the last commit: its parameters, its report, and its results from DVC's cache.

Nothing of the workspace is lost. A finished run that is no experiment yet becomes one first, and
outputs that the cache does not hold are moved aside.
"""

import itertools
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
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

from pokecam.common.errors import InputError
from pokecam.common.params import load_yaml

PARAMS, LOCK = "params.yaml", "dvc.lock"
BUSY = "DVC is running here: wait until it has ended, and try again"
UNSAVED = Path("unsaved")  # where outputs are moved that the cache does not hold


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
    yield from _attach_head(project)
    yield from _keep_run(project)
    _restore_from_git(project, [PARAMS, LOCK])
    try:
        with Repo(str(project)) as repo:
            outputs = list(repo.index.outs)
            _restore_from_git(project, [_path(out) for out in outputs if not out.use_cache])
            for out in outputs:
                if out.use_cache and out.exists and not _is_in_cache(out):
                    aside = _move_aside(project, _path(out))
                    yield f"{_path(out)} is not in DVC's cache: it is now {aside}"
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
            f"its run was never computed in this clone: `dvc repro` computes {', '.join(missing)} "
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
            "`git add -A && git commit`"
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


def _keep_run(project: Path) -> Iterator[str]:
    """Make an experiment of a finished run, unless it is one already.

    Yields:
        Its name, or what is not kept. Nothing if the workspace has the run of the commit.
    """
    _refresh(project, [PARAMS, LOCK])
    if not _git(project, "diff", "--name-only", "HEAD", "--", PARAMS, LOCK):
        return
    name = None
    try:
        with Repo(str(project)) as repo:
            name = _same_experiment(repo, project)
            # Saving computes hashes and writes them to dvc.lock. If stages had to run, that would
            # declare old results to be those of the new parameters.
            if name is None and not repo.status():
                name = _save_experiment(repo, project)
    except LockError:
        raise InputError(BUSY) from None
    except DvcException:  # dvc.lock is cut short, or params.yaml is no YAML
        pass
    if name:
        yield (
            f"the run in the workspace is the experiment {name}: `dvc exp apply {name}` brings it "
            "back"
        )
        return
    try:
        changes = _changed_parameters(project)
    except InputError as error:
        aside = _move_aside(project, PARAMS)
        yield f"no finished run to keep; {PARAMS} is {error}, it is now {aside}"
        return
    again = f"; this starts it again: dvc exp run {changes}" if changes else ""
    yield f"the workspace has no finished run of its code and parameters to keep{again}"


def _same_experiment(repo: Repo, project: Path) -> str | None:
    """Return the name of an experiment with the parameters and the lock of the workspace."""
    for experiments in repo.experiments.ls(all_commits=True).values():
        for name, revision in experiments:
            if not _git(project, "diff", "--name-only", revision, "--", PARAMS, LOCK):
                return str(name)
    return None


def _save_experiment(repo: Repo, project: Path) -> str:
    """Save the workspace as an experiment, with new files of the report, and return its name."""
    uncached = [_path(out) for out in repo.index.outs if not out.use_cache]
    new_files = _git(project, "ls-files", "-z", "--others", "--", *uncached).split("\0")
    revision = repo.experiments.save(include_untracked=[name for name in new_files if name])
    return str(repo.experiments.get_exact_name([revision])[revision])


def _changed_parameters(project: Path) -> str:
    """Return the parameters that differ from the commit, as options of `dvc exp run`.

    Raises:
        InputError: params.yaml is not valid YAML.
    """
    committed = load_yaml(_git(project, "show", f"HEAD:./{PARAMS}"))
    if not (project / PARAMS).is_file():
        return ""
    current = load_yaml((project / PARAMS).read_text(encoding="utf-8", errors="replace"))
    if not isinstance(current, dict):
        raise InputError("not a list of lines `name: value`")
    return " ".join(
        "-S " + shlex.quote(f"{key}={_override(value)}")
        for key, value in current.items()
        if key not in committed or committed[key] != value
    )


def _override(value: Any) -> str:
    """Return a value as `-S` takes it."""
    if isinstance(value, str) and re.fullmatch(r"[\w./-]+", value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str).replace(", ", ",")


def _restore_from_git(project: Path, paths: Sequence[str]) -> None:
    """Restore paths from the last commit, and remove what it does not have there.

    The index is restored as well: a `dvc exp run` that was killed may leave its change there.
    """
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


def _move_aside(project: Path, name: str) -> Path:
    """Move a file or folder of the project below `UNSAVED`, and return where it is now."""
    target = UNSAVED / f"{datetime.now():%Y-%m-%d-%H%M%S-%f}" / name
    (project / target).parent.mkdir(parents=True)
    shutil.move(project / name, project / target)
    return target


def _git(project: Path, *words: str, stdin: str = "") -> str:
    """Run git in the project and return its output.

    Raises:
        InputError: git fails or is not installed.
    """
    try:
        process = subprocess.run(
            ["git", "--literal-pathspecs", *words],
            cwd=project,
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
