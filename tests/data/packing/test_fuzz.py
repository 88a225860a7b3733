"""Whatever a file holds, it is used or named with a reason, soon, and without filling memory.

`tests/data/packing/fuzz.py` makes the files and runs them in a process of its own, so that one that
crashes it, hangs or floods is known by its number.
"""

import io
import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pokecam.data.packed.csv_tables import read_table
from pokecam.data.packing.pack import pack
from pokecam.data.sources import raw_zip
from pokecam.data.sources.formats import READABLE
from tests.conftest import PROJECT
from tests.data.packing import fuzz
from tests.support.images import image_bytes

PER_PROCESS = 300


def outcomes(what: str, argument: str = "") -> dict[str, dict]:
    """Name of a file → what came of it; fails, and names the file, if its process does."""
    command = [sys.executable, "-m", "tests.data.packing.fuzz", what, argument]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    found, begun = {}, "before the first"
    for line in map(json.loads, done.stdout.splitlines()):
        if "begun" in line:
            begun = line["begun"]
        else:
            found[begun] = line
    again = f"{what} {argument}, case {begun}"
    assert done.returncode == 0, f"{again}: exit {done.returncode}\n{done.stderr}"
    assert done.stderr == "", f"{again} or before: {done.stderr}"
    for name, one in found.items():
        again = f"{what} {argument}, case {name}: {one}"
        assert one["peak"] < fuzz.MOST_BYTES, again
        assert one["seconds"] < fuzz.MOST_SECONDS, again
        assert len(one["outcome"].splitlines()) == 1, again
        assert " at 0x" not in one["outcome"], again
    return found


def counted(found: list[dict]) -> Counter:
    """How often each kind of outcome came, the slowest case and the highest peak printed."""
    kinds = Counter(
        re.sub(r"\d+×\d+", "…×…", one["outcome"].split(":")[0].split(" (")[0]) for one in found
    )
    slowest = max(one["seconds"] for one in found)
    peak = max(one["peak"] for one in found)
    print(f"{len(found)} cases, slowest {slowest:.2f} s, peak {peak / 1e6:.0f} MB: {kinds}")
    return kinds


def test_every_readable_format_is_among_the_seeds_and_undamaged_ones_are_used():
    kinds = {Image.open(io.BytesIO(data)).format for data in fuzz.seeds()}
    assert kinds >= set(READABLE)
    assert {fuzz.judged(data) for data in fuzz.seeds()} == {"used"}
    assert {fuzz.judged_mask(data) for data in fuzz.mask_seeds()} == {"used"}


def test_a_case_is_the_same_file_every_time():
    assert fuzz.case(17, fuzz.seeds()) == fuzz.case(17, fuzz.seeds())
    assert len({fuzz.case(number, fuzz.seeds()) for number in range(100)}) > 90


def test_damaged_files_are_used_or_named_with_a_reason():
    found = outcomes("image", f"0:{PER_PROCESS}")
    assert len(found) == PER_PROCESS
    kinds = counted(list(found.values()))
    assert kinds["used"] > 30
    assert kinds["truncated or corrupt"] > 100


def test_bombs_are_used_or_refused_in_time():
    found = outcomes("bomb")
    assert len(found) > 20
    assert counted(list(found.values()))["used"] <= 3  # what is too long, but not too long to wait


def test_damaged_masks_are_used_or_an_input_error():
    found = outcomes("mask", f"0:{PER_PROCESS}")
    assert len(found) == PER_PROCESS
    outcome = [one["outcome"] for one in found.values()]
    assert outcome.count("used") >= 5
    refused = {text for text in outcome if text != "used"}
    assert len(refused) > 20
    assert all(text.startswith("the mask of a.png ") for text in refused)


def test_damaged_real_images_are_used_or_named_with_a_reason(shared):
    found = outcomes("image", f"0:100:real:{shared / 'pokemon10'}")
    assert len(found) == 100


@pytest.mark.slow
@pytest.mark.parametrize(("what", "number"), [("image", 9000), ("mask", 3000)])
def test_thousands_of_damaged_files(what, number):
    found = []
    for first in range(0, number, PER_PROCESS):
        found += outcomes(what, f"{first}:{first + PER_PROCESS}").values()
    assert len(found) == number
    assert counted(found)["used"] > number / 50


@pytest.mark.slow
def test_thousands_of_damaged_real_images(shared):
    found = []
    for first in range(0, 3000, PER_PROCESS):
        numbers = f"{first}:{first + PER_PROCESS}"
        found += outcomes("image", f"{numbers}:real:{shared / 'pokemon10'}").values()
    assert counted(found)["used"] > len(found) / 10


def test_select_names_each_damaged_file_once(tmp_path, capfd):
    """As used or as quarantined; and nothing of what Pillow says of them is on the terminal."""
    files = {f"images/Ant/good{i}.png": image_bytes(i + 10) for i in range(3)}
    files |= {f"images/Bee/good{i}.png": image_bytes(i + 20) for i in range(3)}
    for number in range(300):
        label = ("Ant", "Bee")[number % 2]
        files[f"images/{label}/{number}"] = fuzz.case(number, fuzz.seeds())
    raw_zip.write_raw_zip(iter(files.items()), tmp_path / "raw.zip")
    out = tmp_path / "images"
    pack(
        tmp_path / "raw.zip",
        out,
        classes="all",
        lookalikes=(),
        image_size=64,
        unfinished=tmp_path / "unfinished",
    )
    used, quarantined = (read_table(out / f"{name}.csv") for name in ("manifest", "quarantine"))
    assert sorted([*used.file, *quarantined.file]) == sorted(
        name.removeprefix("images/") for name in files
    )
    assert quarantined.reason.str.len().min() > 5
    assert len(np.load(out / "pixels.npy")) == len(used) > 30
    assert capfd.readouterr().err == ""
