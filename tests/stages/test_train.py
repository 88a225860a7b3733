"""Training that is interrupted: killed, asked to stop, left alone by its DVC."""

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
    """(network and history, seconds) of a training in one go."""
    workplace = Workplace(tmp_path_factory.mktemp("undisturbed"), epochs=EPOCHS)
    started = time.monotonic()
    workplace.run("train")
    assert not workplace.checkpoints()
    return workplace.trained(), time.monotonic() - started


@pytest.fixture
def workplace(tmp_path):
    return Workplace(tmp_path, epochs=EPOCHS)


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def end_of(process):
    """(exit code, what it said)."""
    told = process.communicate(timeout=60)[1]
    return process.returncode, told


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(undisturbed, workplace, kills):
    expected, seconds = undisturbed
    chance = random.Random(kills)
    resumed = 0
    for kill in range(kills):
        process = workplace.start("train")
        if kill == 0:  # one of them certainly after an epoch
            wait_for(workplace.checkpoints)
        time.sleep(chance.uniform(0, seconds if kill else seconds / 10))
        process.kill()
        resumed += "goes on in epoch" in end_of(process)[1]
        if process.returncode == 0:  # it was done already
            assert workplace.trained() == expected
    resumed += "goes on in epoch" in workplace.run("train")
    assert resumed
    assert workplace.trained() == expected
    assert not workplace.checkpoints()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_asked_to_stop_it_saves_in_the_middle_of_an_epoch(undisturbed, workplace, number):
    process = workplace.start("train")
    wait_for(workplace.checkpoints)
    process.send_signal(number)
    code, told = end_of(process)
    assert code == 1
    assert f"of {EPOCHS} epochs" in told.splitlines()[-1]
    assert "kept in checkpoints; run again to go on" in told.splitlines()[-1]
    assert "Traceback" not in told
    assert "goes on in epoch" in workplace.run("train")
    assert workplace.trained() == undisturbed[0]


def test_it_ends_with_the_dvc_that_started_it(undisturbed, workplace):
    """Here a program that is killed outright, with a shell between."""
    dvc = (
        "import os, subprocess, sys\n"
        "told = os.environ | {'DVC_STAGE': 'train'}\n"
        "subprocess.run(['sh', '-c', f'{sys.executable} -m stages.train; true'], env=told)\n"
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
    assert workplace.trained() == undisturbed[0]


def test_a_damaged_checkpoint_is_told_and_not_used(undisturbed, workplace):
    process = workplace.start("train")
    wait_for(workplace.checkpoints)
    process.kill()
    process.wait()
    (path,) = workplace.checkpoints()
    path.write_bytes(path.read_bytes()[:-1000])
    told = workplace.run("train")
    assert "cannot be read" in told
    assert "goes on" not in told
    assert workplace.trained() == undisturbed[0]


def test_other_settings_do_not_go_on_from_it(workplace):
    process = workplace.start("train")
    wait_for(workplace.checkpoints)
    process.kill()
    process.wait()
    before = workplace.checkpoints()
    workplace.set(**workplace.parameters | {"seed": 2})
    assert "goes on" not in workplace.run("train")
    assert workplace.checkpoints() == before


TWO = {LAUNCH: "--multi_gpu --num_processes 2"}


def test_two_processes_predict_and_draw_maps_as_one(workplace):
    workplace.run("train")
    results = []
    for environment in ({}, TWO):
        for stage in ("evaluate", "cam"):
            workplace.run(stage, **environment)
        results.append(workplace.results())
    (one, maps), (two, other_maps) = results
    assert one.predicted.equals(two.predicted)
    probabilities = [name for name in one if name.startswith("p:")]
    assert (one[probabilities] - two[probabilities]).abs().max().max() < 1e-4
    for name, map_ in maps.items():
        assert abs(map_ - other_maps[name]).max() <= 1e-4 * abs(map_).max()


def test_two_processes_train_as_one(tmp_path):
    """But for rounding, which AdamW enlarges (hence the low rate), where no BatchNorm sees half a
    batch only. The fit of the last layer decides most of these losses."""
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
        told = workplace.run("train", **environment)
        assert told.count("epoch 1/2") == 1  # the leader alone speaks
        losses.append(workplace.history()[["train_loss", "val_loss"]])
    pd.testing.assert_frame_equal(*losses, atol=0, rtol=3e-3)


def test_a_launcher_that_starts_one_process_is_refused(workplace):
    """It started the stage anew without end."""
    code, told = end_of(workplace.start("train", **{LAUNCH: "--cpu --num_processes 2"}))
    assert code != 0
    assert "error: POKECAM_LAUNCH=--cpu --num_processes 2: that is one process; for sev" in told


def test_too_many_processes_for_a_step_are_refused(tmp_path):
    model = build_classifier("squeezenet1_1", "gap", ["a", "b"], 64)
    part = LabelledImages(np.zeros((4, 64, 64, 3), np.uint8), np.arange(4), np.arange(4) % 2)
    recipe = Recipe(**{name: PARAMETERS[name] for name in Recipe.model_fields})
    with pytest.raises(InputError, match="batch_size: 4 images a step are too few for 3 proc"):
        fit(model, part, part, recipe, pretrained=True, team=Team(0, 3))
