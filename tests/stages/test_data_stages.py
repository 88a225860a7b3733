"""download, select and split as DVC runs them: parameters and files in, files out."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packed.images import load_packed, read_lookalikes
from stages import download, select, split
from tests.conftest import PROJECT
from tests.support.images import image_bytes, write_tree

PARAMETERS = {
    "source": "images",
    "images_per_class": 1,
    "draw_seed": 1,
    "classes": ["Bee", "Ant"],
    "lookalikes": [["Ant", "Bee"]],
    "image_size": 64,
    "split_file": "split.csv",
    "val_fraction": 0.2,
    "test_fraction": 0.2,
    "split_seed": 1,
}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with ten images each of three classes, and params.yaml."""
    files = {
        f"{c}/{i}.png": image_bytes(100 * k + i)
        for k, c in enumerate(["Ant", "Bee", "Cat"])
        for i in range(10)
    }
    write_tree(tmp_path / "images", files | {"Ant/notes.txt": b"", "Ant/bad.jpg": b""})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMETERS))
    shutil.copy(PROJECT / "datasets" / "split.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_a_folder_to_a_split(workplace):
    download.main()
    select.main()
    split.main()
    packed = load_packed(workplace / "data" / "images")
    assert packed.pixels.shape == (20, 64, 64, 3)
    assert packed.classes == ["Bee", "Ant"]
    assert read_lookalikes(workplace / "data" / "lookalikes.json") == [["Ant", "Bee"]]
    divided = read_table(workplace / "data" / "split.csv")
    assert divided.file.tolist() == packed.manifest.file.tolist()
    assert pd.crosstab(divided.label, divided.subset).loc["Ant"].to_dict() == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    quarantine = read_table(workplace / "data" / "images" / "quarantine.csv")
    assert quarantine.values.tolist() == [["Ant/bad.jpg", "Ant", "empty file"]]
    outputs = {
        path.relative_to(workplace / "data").parts[0] for path in workplace.rglob("data/**/*")
    }
    assert outputs == {"raw.zip", "images", "source_classes.json", "split.csv", "lookalikes.json"}


def test_a_split_of_the_user_is_taken(workplace, caplog):
    download.main()
    select.main()
    (workplace / "split.csv").write_text(
        "file,label,subset\nBee/0.png,Bee,val\nBee/1.png,Bee,val\n"
    )
    split.main()
    subset = read_table(workplace / "data" / "split.csv").set_index("file").subset
    assert subset[["Bee/0.png", "Bee/1.png"]].tolist() == ["val", "val"]
    assert subset.value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}
    assert "split.csv lists 2 of 20 images; the fractions divide the other 18" in caplog.text


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        ("download", {"source": "images/Ant"}, "holds no images in class folders"),
        ("select", {"classes": ["Antt", "Bee"]}, "Did you mean Ant?"),
        ("select", {"classes": ["Owl", "Fox"]}, "-S classes=all"),
        ("split", {"lookalikes": [["Ant", "Bea"]]}, "Did you mean Bee?"),
        ("split", {"val_fraction": 0.6, "test_fraction": 0.6}, "less than 1"),
        ("split", {"split_file": "absent.csv"}, "split_file absent.csv is not a file"),
    ],
)
def test_bad_input_is_one_line_and_a_failure(workplace, stage, change, message):
    download.main()
    select.main()
    before = {path: path.read_bytes() for path in workplace.rglob("data/**/*") if path.is_file()}
    (workplace / "params.yaml").write_text(yaml.safe_dump(PARAMETERS | change))
    result = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    after = {path: path.read_bytes() for path in workplace.rglob("data/**/*") if path.is_file()}
    assert after == before


def test_select_and_split_name_the_classes_with_few_images(workplace, caplog):
    """Of ten images, six are for training and two for the test."""
    download.main()
    caplog.clear()
    select.main()
    split.main()
    selection, learn, judge = (record.getMessage() for record in caplog.records)
    assert "fewer than 13 usable images: Ant (10), Bee (10). No split" in selection
    assert "fewer than 8 training images: Ant (6), Bee (6). They are too few to be" in learn
    assert "fewer than 4 test images: Ant (2), Bee (2). They are too few to be" in judge
