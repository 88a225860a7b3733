"""Every file is used or rejected with a reason, within the limits of time and memory.

`tests/data/packing/fuzz.py` builds the files and judges them in a new process. A file that crashes
it, hangs or takes too much memory is then known by its number.
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


def judge_all(kind: str, argument: str = "") -> dict[str, dict]:
    """Return name of a case → its result; fail with this name if the process fails."""
    command = [sys.executable, "-m", "tests.data.packing.fuzz", kind, argument]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    results, begun = {}, "before the first"
    for line in map(json.loads, process.stdout.splitlines()):
        if "begun" in line:
            begun = line["begun"]
        else:
            results[begun] = line
    case = f"{kind} {argument}, case {begun}"
    assert process.returncode == 0, f"{case}: exit {process.returncode}\n{process.stderr}"
    assert process.stderr == "", f"{case} or before: {process.stderr}"
    for name, result in results.items():
        case = f"{kind} {argument}, case {name}: {result}"
        assert result["peak"] < fuzz.MAX_BYTES, case
        assert result["seconds"] < fuzz.MAX_SECONDS, case
        assert len(result["outcome"].splitlines()) == 1, case
        assert " at 0x" not in result["outcome"], case
    return results


def count_outcomes(results: list[dict]) -> Counter:
    """Count the kinds of outcomes; print the slowest case and the highest peak."""
    kinds = Counter(
        re.sub(r"\d+×\d+", "…×…", result["outcome"].split(":")[0].split(" (")[0])
        for result in results
    )
    slowest = max(result["seconds"] for result in results)
    peak = max(result["peak"] for result in results)
    print(f"{len(results)} cases, slowest {slowest:.2f} s, peak {peak / 1e6:.0f} MB: {kinds}")
    return kinds


def test_every_readable_format_is_among_the_seeds_and_undamaged_ones_are_used():
    kinds = {Image.open(io.BytesIO(data)).format for data in fuzz.seeds()}
    assert kinds >= set(READABLE)
    assert {fuzz.judge(data) for data in fuzz.seeds()} == {"used"}
    assert {fuzz.judge_mask(data) for data in fuzz.mask_seeds()} == {"used"}


def test_a_case_is_the_same_file_every_time():
    assert fuzz.case(17, fuzz.seeds()) == fuzz.case(17, fuzz.seeds())
    assert len({fuzz.case(number, fuzz.seeds()) for number in range(100)}) > 90


def test_damaged_files_are_used_or_rejected_with_a_reason():
    results = judge_all("image", f"0:{PER_PROCESS}")
    assert len(results) == PER_PROCESS
    kinds = count_outcomes(list(results.values()))
    assert kinds["used"] > 30
    assert kinds["truncated or corrupt"] > 100


def test_bombs_are_used_or_refused_in_time():
    results = judge_all("bomb")
    assert len(results) > 20
    kinds = count_outcomes(list(results.values()))
    assert kinds["used"] <= 7  # those that are long, but within the limits


def test_damaged_masks_are_used_or_an_input_error():
    results = judge_all("mask", f"0:{PER_PROCESS}")
    assert len(results) == PER_PROCESS
    outcome = [result["outcome"] for result in results.values()]
    assert outcome.count("used") >= 5
    refused = {text for text in outcome if text != "used"}
    assert len(refused) > 20
    assert all(text.startswith("the mask of a.png ") for text in refused)


def test_damaged_real_images_are_used_or_rejected_with_a_reason(shared):
    results = judge_all("image", f"0:100:real:{shared / 'pokemon10'}")
    assert len(results) == 100


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number"), [("image", 9000), ("mask", 3000)])
def test_thousands_of_damaged_files(kind, number):
    results = []
    for first in range(0, number, PER_PROCESS):
        results += judge_all(kind, f"{first}:{first + PER_PROCESS}").values()
    assert len(results) == number
    assert count_outcomes(results)["used"] > number / 50


@pytest.mark.slow
def test_thousands_of_damaged_real_images(shared):
    results = []
    for first in range(0, 3000, PER_PROCESS):
        numbers = f"{first}:{first + PER_PROCESS}"
        results += judge_all("image", f"{numbers}:real:{shared / 'pokemon10'}").values()
    assert count_outcomes(results)["used"] > len(results) / 10


def test_select_names_each_damaged_file_once(tmp_path, capfd):
    """In the manifest or in the quarantine; and no message of Pillow is on the terminal."""
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
