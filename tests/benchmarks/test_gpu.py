"""benchmarks/gpu.py runs without a GPU."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.support.repository import PROJECT


def run(output, *words):
    command = [sys.executable, "benchmarks/gpu.py", "--small", "--device", "cpu", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "--patience", "6", "--limit", "900", "--output", str(output)],
        cwd=PROJECT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    lines = (output / "figures.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    failures = [row for row in rows if row["unit"] == "failed" or "not run" in row["name"]]
    assert not failures
    return result.stdout, {row["name"]: row for row in rows}


@pytest.mark.slow
def test_networks_are_measured_on_a_cpu(tmp_path):
    table, figures = run(tmp_path, "--only", "steps", "maps", "batches", "many")
    assert "started one by one" in table
    assert float(figures["grad_cam, float32"]["value"]) > 0
    assert float(figures["display on the device − on the host"]["value"]) < 1e-5
    text = figures["4 images: loss of the first epoch; hash of the weights"]["value"]
    assert re.fullmatch(r"started one by one: \d+\.\d{6}, [0-9a-f]{12}", text)


def test_a_part_that_fails_does_not_end_the_next_ones(tmp_path):
    command = [sys.executable, "benchmarks/gpu.py", "--small", "--device", "cpu"]
    # `all images` finds no images, because `run` does not run before it.
    result = subprocess.run(
        [*command, "--only", "all", "steps", "--patience", "6", "--output", str(tmp_path)],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "failed" in result.stdout
    assert "started one by one" in result.stdout


@pytest.mark.slow
def test_pretraining_is_measured_on_a_cpu_and_the_tests_run(tmp_path):
    table, figures = run(tmp_path, "--only", "pretraining", "tests")
    name = "mobilenet_v3_small, views of 40 px, 4 images in a step"
    assert figures[name]["value"] > 0
    assert "passed" in figures["pytest"]["value"]
    assert "pretraining" in table


@pytest.mark.slow
def test_the_stages_are_measured_on_a_cpu(tmp_path):
    _, figures = run(tmp_path, "--only", "start", "run", "resnet50", "all", "train", "judge")
    assert figures["stage download"]["unit"] == figures["all stages"]["unit"] == "s"
    assert figures["Trainer.run_epoch"]["value"] > 0
    assert any(name.startswith("tables.score") for name in figures)
    assert np.isfinite(figures["main"]["value"])
