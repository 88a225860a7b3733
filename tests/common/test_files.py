"""Outputs are complete or absent, and the same content gives the same bytes."""

import errno
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from pokecam.common.errors import InputError
from pokecam.common.files import (
    portable_name,
    sweep,
    whole_file,
    whole_folder,
    write_csv,
    write_json,
)


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_file_appears_only_when_complete(tmp_path):
    target = tmp_path / "deep" / "out.txt"
    with whole_file(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(target.parent) == ["out.txt"]


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_folder_replaces_everything_in_the_old_one(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "stale").write_text("old")
    with whole_folder(target) as temporary:
        (temporary / "fresh").write_text("new")
    assert names(tmp_path) == ["fresh", "out"]


def test_failure_keeps_the_old_folder(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "kept").write_text("old")
    with pytest.raises(RuntimeError), whole_folder(target) as temporary:
        (temporary / "half").write_text("new")
        raise RuntimeError
    assert names(tmp_path) == ["kept", "out"]


def test_json_keeps_order_and_refuses_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": "Nidoran♀"})
    assert path.read_bytes() == '{\n  "b": 1,\n  "a": "Nidoran♀"\n}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"b": float("nan")})
    assert json.loads(path.read_text())["b"] == 1


def test_csv_bytes(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, pd.DataFrame({"x": ["a,b", "c"], "y": [1 / 3, 2.0]}))
    assert path.read_bytes() == b'x,y\n"a,b",0.333333\nc,2\n'


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (tmp_path / f".a.csv.{process.pid}.tmp").write_text("half")
    (tmp_path / f".b.{process.pid}.tmp").mkdir()
    (tmp_path / f".b.{process.pid}.tmp" / "c").write_text("half")
    remaining = [f".a.csv.{os.getpid()}.tmp", f"a.{process.pid}.tmp", ".tmp", "a.csv"]
    for name in remaining:
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert names(tmp_path) == sorted(remaining)
    sweep(tmp_path / "not there")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), RuntimeError("torch")])
def test_a_full_disk_is_told_whatever_the_library_raises(tmp_path, monkeypatch, error):
    usage = SimpleNamespace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with (
        pytest.raises(InputError, match=r"the disk is full: .*out\.txt"),
        whole_file(tmp_path / "out.txt"),
    ):
        raise error
    usage.free = 2**30
    with pytest.raises(RuntimeError), whole_file(tmp_path / "out.txt"):
        raise RuntimeError("something else")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meowth", "meowth"),
        ("Évoli ♀ 2", "Évoli ♀ 2"),
        ("CON", "CON_"),
        ("aux", "aux_"),
        ("nul.tar", "nul_.tar"),
        ("COM¹", "COM¹_"),
        ("com10", "com10"),
        ("lpt1 .x", "lpt1 _.x"),
        ('a:b?c*d|e<f>g"h\\i', "a_b_c_d_e_f_g_h_i"),
        ("end. . ", "end"),
        ("...", "image"),
        ("tab\there", "tab_here"),
    ],
)
def test_a_portable_name_is_one_that_windows_can_have(name, expected):
    assert portable_name(name) == expected
    assert portable_name(expected) == expected
