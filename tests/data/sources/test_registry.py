"""The parameter `source`: how a source is recognised, and the errors if there is none."""

import pytest

from pokecam.common.errors import InputError
from pokecam.common.params import read_params
from pokecam.data.sources.registry import DownloadSettings, members
from tests.support.images import as_tar, as_zip, image_bytes, write_tree
from tests.support.repository import PROJECT

FILES = {"Ant/a.png": image_bytes(1)}


def read_source(source):
    return dict(members(str(source), images_per_class=1, draw_seed=1))


def test_the_kind_follows_from_the_content_and_not_from_the_ending(tmp_path):
    """A zip called .tar, a tar called .zip, a tar.gz without an ending."""
    as_zip(tmp_path / "a.tar", FILES)
    as_tar(tmp_path / "a.zip", FILES)
    as_tar(tmp_path / "a", FILES, "w:gz")
    write_tree(tmp_path / "tree", FILES)
    for source in ("a.tar", "a.zip", "a", "tree"):
        assert read_source(tmp_path / source) == {"images/Ant/a.png": image_bytes(1)}


@pytest.mark.parametrize(
    ("source", "message"),
    [("kaggle", "write -S source=datasets/kaggle.yaml"), ("no/such/folder", "does not exist")],
)
def test_a_source_that_is_not_there(source, message, monkeypatch):
    monkeypatch.chdir(PROJECT)
    with pytest.raises(InputError) as error:
        read_source(source)
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"", b"plain text", b"Rar!\x1a\x07\x00", b"BZh9"])
def test_a_file_that_is_no_archive(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=r"neither a folder, nor a \.zip, \.tar or \.tar\.gz"):
        read_source(tmp_path / "file")


def test_an_empty_zip(tmp_path):
    as_zip(tmp_path / "a.zip", {})
    with pytest.raises(InputError, match="holds no images in class folders"):
        read_source(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("source: 3", "source: 3 was given"),
        ("source: ''", "source: '' was given"),
        ("images_per_class: 0", "images_per_class: 0 was given"),
        ("draw_seed: -1", "draw_seed: -1 was given"),
    ],
)
def test_settings_are_checked(tmp_path, line, message):
    good = {"source": "datasets/drawn.yaml", "images_per_class": 60, "draw_seed": 1}
    key, value = line.split(": ")
    lines = [f"{k}: {v}" for k, v in (good | {key: value}).items()]
    (tmp_path / "params.yaml").write_text("\n".join(lines))
    with pytest.raises(InputError) as error:
        read_params(DownloadSettings, tmp_path / "params.yaml", tmp_path / "dvc.yaml")
    assert message in str(error.value)
