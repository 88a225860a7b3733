"""benchmarks/gpu.py runs without a GPU, and its prototypes compute what the project does."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from pokecam.common.progress import Progress
from pokecam.networks.distributed import SINGLE_PROCESS
from pokecam.training.settings import Recipe
from pokecam.training.trainer import Trainer, TrainingState
from tests.support.repository import PROJECT
from tests.training.tiny import RECIPE, labelled_images, tiny_classifier


@pytest.fixture
def device_step(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    from support import device_step

    return device_step


def test_steps_that_wait_for_nothing_equal_those_of_the_trainer(device_step):
    train, network = labelled_images(24), tiny_classifier()
    recipe = Recipe(**(RECIPE | {"epochs": 2}))
    trainer = Trainer(
        copy.deepcopy(network),
        train,
        recipe,
        pretrained=True,
        team=SINGLE_PROCESS,
        checkpoint=None,
    )
    step = device_step.DeviceStep(trainer, copy.deepcopy(network), torch.from_numpy(train.pixels))
    with Progress(2, enabled=False) as progress:
        loss, accuracy = trainer.run_epoch(TrainingState(), progress, lambda: False)
    for _ in range(trainer.steps):
        step()
    assert float(step.loss) / trainer.steps == pytest.approx(loss, abs=1e-5)
    assert int(step.hits) == round(accuracy * len(train))
    moved = 0.0
    trained = trainer.classifier.state_dict()
    for name, start in network.state_dict().items():
        torch.testing.assert_close(step.classifier.state_dict()[name], trained[name])
        moved += float((trained[name] - start).abs().sum())
    assert moved > 0


def test_a_restart_goes_back_to_the_first_step(device_step):
    train, network = labelled_images(16), tiny_classifier()
    trainer = Trainer(
        copy.deepcopy(network),
        train,
        Recipe(**RECIPE),
        pretrained=True,
        team=SINGLE_PROCESS,
        checkpoint=None,
    )
    step = device_step.DeviceStep(trainer, copy.deepcopy(network), torch.from_numpy(train.pixels))
    digests = []
    for _ in range(2):
        step.restart()
        step()
        step()
        digests.append(step.digest())
    step()
    assert digests[0] == digests[1] != step.digest()


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
    table, figures = run(tmp_path, "--only", "steps", "maps", "batches")
    assert "nothing waits" in table
    assert float(figures["grad_cam, float32"]["value"]) > 0
    assert float(figures["display on the device − as it is"]["value"]) < 1e-5
    steps = figures["4 images: loss of an epoch, as it is − nothing waits"]["value"]
    present, other = steps.split(";")[0].split(" − ")
    assert float(present) == pytest.approx(float(other), abs=1e-3)


def test_a_part_that_fails_does_not_end_the_next_ones(tmp_path):
    command = [sys.executable, "benchmarks/gpu.py", "--small", "--device", "cpu"]
    # `cam` finds no images, because `data` and `train` do not run before it.
    result = subprocess.run(
        [*command, "--only", "cam", "steps", "--patience", "6", "--output", str(tmp_path)],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "failed" in result.stdout
    assert "nothing waits" in result.stdout


@pytest.mark.slow
def test_the_stages_are_measured_on_a_cpu(tmp_path):
    _, figures = run(tmp_path, "--only", "data", "start", "train", "evaluate", "cam", "judge")
    assert figures["stage download"]["unit"] == "s"
    assert figures["Trainer.run_epoch"]["value"] > 0
    assert any(name.startswith("tables.score") for name in figures)
    assert np.isfinite(figures["main"]["value"])
