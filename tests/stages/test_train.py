"""Training that is interrupted: killed, by a signal, or because its DVC ends."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import torchvision

from pokecam.common.errors import InputError
from pokecam.networks.classifier import build_classifier
from pokecam.networks.distributed import LAUNCH, Team
from pokecam.training.fit import fit
from pokecam.training.settings import Recipe
from pokecam.training.trainer import LabelledImages
from tests.conftest import PROJECT
from tests.stages.workplace import PARAMETERS, Workplace

EPOCHS = 6


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """((network, history), seconds) of a training without interruption."""
    workplace = Workplace(tmp_path_factory.mktemp("undisturbed"), epochs=EPOCHS)
    started = time.monotonic()
    workplace.run("train")
    assert not workplace.checkpoints()
    return workplace.model_bytes(), time.monotonic() - started


@pytest.fixture
def workplace(tmp_path):
    return Workplace(tmp_path, epochs=EPOCHS)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def wait_for_end(process):
    """Return the exit code and stderr of a process."""
    stderr = process.communicate(timeout=60)[1]
    return process.returncode, stderr


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(undisturbed, workplace, kills):
    expected, seconds = undisturbed
    rng = random.Random(kills)
    resumed = 0
    for kill in range(kills):
        process = workplace.start("train")
        if kill == 0:  # one of the kills is certainly after an epoch
            wait_for(workplace.checkpoints)
        time.sleep(rng.uniform(0, seconds if kill else seconds / 10))
        process.kill()
        resumed += "continues in epoch" in wait_for_end(process)[1]
        if process.returncode == 0:  # it had finished before
            assert workplace.model_bytes() == expected
    resumed += "continues in epoch" in workplace.run("train")
    assert resumed
    assert workplace.model_bytes() == expected
    assert not workplace.checkpoints()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_asked_to_stop_it_saves_in_the_middle_of_an_epoch(undisturbed, workplace, number):
    process = workplace.start("train")
    wait_for(workplace.checkpoints)
    process.send_signal(number)
    code, stderr = wait_for_end(process)
    assert code == 1
    assert f"of {EPOCHS} epochs" in stderr.splitlines()[-1]
    assert "kept in checkpoints; run again to continue" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    assert "continues in epoch" in workplace.run("train")
    assert workplace.model_bytes() == undisturbed[0]


def test_it_ends_with_the_dvc_that_started_it(undisturbed, workplace):
    """A program stands in for DVC and is killed. A shell lies between it and the stage."""
    dvc = (
        "import os, subprocess, sys\n"
        "environment = os.environ | {'DVC_STAGE': 'train'}\n"
        "subprocess.run(['sh', '-c', f'{sys.executable} -m stages.train; true'], env=environment)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", dvc],
        cwd=workplace.path,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    wait_for(workplace.checkpoints)
    (trainer,) = [
        child
        for child in psutil.Process(starter.pid).children(recursive=True)
        if child.cmdline()[:1] == [sys.executable]
    ]
    starter.kill()
    starter.wait()
    wait_for(lambda: not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE, 10)
    assert workplace.checkpoints()
    workplace.run("train")
    assert workplace.model_bytes() == undisturbed[0]


def test_a_damaged_checkpoint_is_told_and_not_used(undisturbed, workplace):
    process = workplace.start("train")
    wait_for(workplace.checkpoints)
    process.kill()
    process.wait()
    (path,) = workplace.checkpoints()
    path.write_bytes(path.read_bytes()[:-1000])
    stderr = workplace.run("train")
    assert "cannot be read" in stderr
    assert "continues" not in stderr
    assert workplace.model_bytes() == undisturbed[0]


def test_other_settings_do_not_go_on_from_it(workplace):
    process = workplace.start("train")
    wait_for(workplace.checkpoints)
    process.kill()
    process.wait()
    before = workplace.checkpoints()
    workplace.set(**workplace.parameters | {"seed": 2})
    assert "continues" not in workplace.run("train")
    assert workplace.checkpoints() == before


TWO = {LAUNCH: "--multi_gpu --num_processes 2"}


def test_two_processes_predict_and_draw_maps_as_one(workplace):
    workplace.run("train")
    results = []
    for environment in ({}, TWO):
        for stage in ("evaluate", "cam"):
            workplace.run(stage, **environment)
        results.append(workplace.results())
    (predictions, maps), (team_predictions, team_maps) = results
    assert predictions.predicted.equals(team_predictions.predicted)
    probabilities = [name for name in predictions if name.startswith("p:")]
    differences = predictions[probabilities] - team_predictions[probabilities]
    assert differences.abs().max().max() < 1e-4
    for name, map_ in maps.items():
        assert abs(map_ - team_maps[name]).max() <= 1e-4 * abs(map_).max()


def test_two_processes_train_as_one(tmp_path):
    """The losses are equal except for rounding, which AdamW enlarges, hence the low rate.

    The backbone has no BatchNorm, which would see only half a batch. The fit of the last layer
    decides most of these losses.
    """
    weights = tmp_path / "weights.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.squeezenet1_1().state_dict(), weights)
    workplace = Workplace(
        tmp_path / "workplace",
        epochs=2,
        backbone="squeezenet1_1",
        weights=str(weights),
        learning_rate=1e-6,
    )
    losses = []
    for environment in ({}, TWO):
        stderr = workplace.run("train", **environment)
        assert stderr.count("epoch 1/2") == 1  # only the main process writes
        losses.append(workplace.history()[["train_loss", "val_loss"]])
    pd.testing.assert_frame_equal(*losses, atol=0, rtol=3e-3)


def test_a_launcher_that_starts_one_process_is_refused(workplace):
    """Such a launcher once started the stage again and again."""
    code, stderr = wait_for_end(workplace.start("train", **{LAUNCH: "--cpu --num_processes 2"}))
    assert code != 0
    assert "error: POKECAM_LAUNCH=--cpu --num_processes 2: that is one process; for sev" in stderr


def test_too_many_processes_for_a_step_are_refused(tmp_path):
    model = build_classifier("squeezenet1_1", "gap", ["a", "b"], 64)
    images = LabelledImages(np.zeros((4, 64, 64, 3), np.uint8), np.arange(4), np.arange(4) % 2)
    recipe = Recipe(**{name: PARAMETERS[name] for name in Recipe.model_fields})
    with pytest.raises(InputError, match="batch_size: 4 images a step are too few for 3 proc"):
        fit(model, images, images, recipe, pretrained=True, team=Team(0, 3))
