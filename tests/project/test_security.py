"""The code keeps what SECURITY.md promises, and `make audit` says so when nothing was checked."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.support.unsafe_calls import unsafe_calls

LOCKS = sorted(PROJECT.glob("requirements*.txt"))


def test_no_code_runs_what_it_reads():
    found = [
        f"{path.relative_to(PROJECT)}:{line}: {fault}"
        for folder in ("pokecam", "stages")
        for path in sorted((PROJECT / folder).rglob("*.py"))
        for line, fault in unsafe_calls(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(file)",
        "from pickle import loads as read\nread(text)",
        "import pickle\nread = pickle.loads",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.FullLoader)",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "x = 1\neval(text)",
        "x = 1\nexec(text)",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, **options)",
        "import torch\nfunctools.partial(torch.load, weights_only=True)",
        "w = 1\nweights.get_state_dict(check_hash=True)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, None, True)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "from subprocess import check_output\ncheck_output(command, shell=shell)",
        "import os\nos.system(command)",
        "archive = 1\narchive.extractall(folder)",
        "import shutil\nshutil.unpack_archive(path)",
    ],
)
def test_what_must_not_be_is_found_in_its_line(source):
    assert [line for line, _ in unsafe_calls(source)] == [2]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.dumps(x)",
        "import yaml\nclass Strict(yaml.SafeLoader): ...\nyaml.load(text, Loader=Strict)",
        "import yaml\nyaml.safe_load(text)",
        "network.eval()",
        "import torch\ntorch.load(path, map_location='cpu', weights_only=True)",
        "import numpy as np\nnp.load(path, mmap_mode='r')",
        "import subprocess\nsubprocess.run([program], check=True)",
        "import re\nre.compile('a')",
        "import safetensors.torch\nsafetensors.torch.load(content)",
    ],
)
def test_what_may_be_is_let_pass(source):
    assert unsafe_calls(source) == []


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_a_version_and_a_hash(path):
    """One requirement after another, each with its hashes on the lines that follow it."""
    text = path.read_text(encoding="utf-8")
    wanted = re.compile(
        r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==[^\s;]+( ; [^\\]+?)?( --hash=sha256:[0-9a-f]{64})+"
    )
    line, faults = 1, []
    for requirement in re.split(r"(?<!\\)\n", text.rstrip("\n")):
        if not wanted.fullmatch(re.sub(r"\s*\\\n\s*", " ", requirement)):
            faults.append(f"{path.name}:{line}: {requirement.splitlines()[0]}")
        line += requirement.count("\n") + 1
    assert faults == []


@pytest.fixture
def audit(tmp_path):
    """`make audit`, with a pip-audit that says what the test wants: (exit status, told)."""
    if not shutil.which("make"):
        pytest.skip("needs make")
    for path in (PROJECT / "Makefile", *LOCKS):
        shutil.copy(path, tmp_path)
    bin_folder = tmp_path / ".venv" / "audit" / "bin"
    bin_folder.mkdir(parents=True)
    (tmp_path / ".venv" / "audit" / "installed").touch()

    def run(says: str, status: int) -> tuple[int, str]:
        script = bin_folder / "pip-audit"
        script.write_text(
            f"#!/bin/sh\necho \"$@\" > asked\ncat >&2 <<'.'\n{says}\n.\nexit {status}\n"
        )
        script.chmod(0o755)
        # Inside `make test` an inner make would count itself in what it says.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        done = subprocess.run(
            ["make", "--silent", "audit"],
            cwd=tmp_path,
            env=outside,
            capture_output=True,
            text=True,
            check=False,
        )
        told = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
        return done.returncode, done.stdout + "\n".join(told)

    return run


def test_an_audit_that_finds_nothing_is_well_and_asked_about_every_lock_file(audit, tmp_path):
    assert audit("No known vulnerabilities found", 0) == (0, "No known vulnerabilities found\n")
    asked = (tmp_path / "asked").read_text()
    assert "--strict" in asked
    # requirements-base.txt is a part of requirements.txt.
    for path in set(LOCKS) - {PROJECT / "requirements-base.txt"}:
        assert f"-r {path.name}" in asked


def test_an_audit_that_finds_something_fails_and_says_it(audit):
    status, told = audit("Found 1 known vulnerability in 1 package", 1)
    assert (status, told) == (2, "Found 1 known vulnerability in 1 package")


def test_an_audit_without_a_network_fails_in_one_line(audit):
    status, told = audit("Traceback (most recent call last):\n  File …\nConnectionError: no way", 1)
    assert status == 2
    assert told.count("\n") == 0
    assert "Nothing was checked" in told
    assert "ConnectionError: no way" in told


def test_what_is_locked_for_the_data_is_locked_alike_for_the_network():
    packages = [
        set(Path(PROJECT, name).read_text().splitlines())
        for name in ("requirements-base.txt", "requirements.txt")
    ]
    assert packages[0] <= packages[1]
