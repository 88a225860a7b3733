"""Outputs are whole or absent, and the same bytes every time."""

import json

import pandas as pd
import pytest

from pokecam.files import whole_file, whole_folder, write_csv, write_json


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
