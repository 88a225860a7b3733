"""Steps that are replayed as graphs give what steps one by one give.

There is no GPU here. A capture that records nothing stands in for that of CUDA: its replay runs the
function again. What a real capture needs besides is a step that takes nothing from the host; that
is tested by looking at each operation of PyTorch.
"""

import math

import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pokecam.networks import device
from pokecam.networks.distributed import SINGLE_PROCESS, Team
from pokecam.training import replay, trainer
from pokecam.training.checkpoints import Checkpoint
from pokecam.training.replay import WARM_UP, Replay
from pokecam.training.settings import Recipe
from pokecam.training.trainer import Trainer
from tests.training.stand_in import StandIn
from tests.training.tiny import RECIPE, fine_tune, labelled_images, tiny_classifier

# What reads a number from a tensor, or copies one from the host; each would stop a GPU.
HOST = ("_local_scalar_dense", "nonzero", "lift_fresh", "is_nonzero", "_unique2")


def run_replays(monkeypatch, graphs):
    """Let all trainings replay their steps, with rates on the device."""

    def fastest(self):
        self.step.rates_on_device = True
        return Replay(self.step, {*self._plan(1).sizes}, graphs).run

    monkeypatch.setattr(Trainer, "_fastest", fastest)


@pytest.fixture
def graphs(monkeypatch):
    graphs = StandIn()
    run_replays(monkeypatch, graphs)
    return graphs


def trained(n_images=22, **changes):
    """Train; return the weights and the history."""
    model = tiny_classifier()
    history = fine_tune(model, labelled_images(n_images), labelled_images(9, seed=1), **changes)
    return model.state_dict(), history


def test_replayed_steps_are_the_steps(monkeypatch):
    """Two sizes of steps (7, 7 and 8 images) are two graphs."""
    expected, expected_history = trained(epochs=4)
    graphs = StandIn()
    run_replays(monkeypatch, graphs)
    state, history = trained(epochs=4)
    assert (graphs.captures, graphs.replays) == (2, 4 * 3 - WARM_UP)
    # Rates on the device have fewer digits than those from the host.
    pd.testing.assert_frame_equal(history, expected_history, rtol=1e-4)
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)


def test_a_replay_changes_no_bit(monkeypatch, graphs):
    state, history = trained(epochs=3)
    assert graphs.replays > 0
    monkeypatch.setattr(replay, "WARM_UP", 10**6)
    graphs.replays = 0
    expected, expected_history = trained(epochs=3)
    assert graphs.replays == 0
    assert history.equals(expected_history)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


def test_where_capture_fails_the_steps_run_one_by_one_with_a_line(monkeypatch, caplog):
    expected, _ = trained()

    class Failing(StandIn):
        def capture(self, function):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    run_replays(monkeypatch, Failing())
    state, _ = trained()
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)
    (message,) = caplog.messages
    assert message.endswith(": operation not permitted when stream is capturing")


def test_all_sizes_run_before_the_first_capture(monkeypatch):
    """The memory of a graph would be missing in a step that was not captured yet."""

    class Done:
        at_once = None

        def __init__(self):
            self.sizes = []

        def run(self, n, compute=None):
            self.sizes.append((n, compute is not None))

    step = Done()
    replay = Replay(step, {7, 8}, StandIn())
    for n in (7, 7, 7, 7, 8, 7, 8):
        replay.run(n)
    assert [n for n, is_replay in step.sizes if not is_replay] == [7, 7, 7, 7, 8]
    assert step.sizes[5:] == [(7, True), (8, True)]


def test_a_step_that_memory_does_not_hold_is_not_captured(graphs, caplog):
    def limit_memory(module, inputs):
        if module.training and len(inputs[0]) > 3:
            raise torch.OutOfMemoryError("CUDA")

    model = tiny_classifier()
    model.register_forward_pre_hook(limit_memory)
    fine_tune(model, labelled_images(16), labelled_images(9, seed=1), pretrained=False, epochs=4)
    assert (graphs.captures, graphs.replays) == (0, 0)
    assert "each step now takes 2 at a time" in caplog.text


def test_a_resumed_training_ends_in_the_same_bits(monkeypatch, graphs, tmp_path):
    monkeypatch.setattr(trainer, "SAVING", math.inf)  # every epoch is kept
    expected, expected_history = trained(epochs=5)
    saved = []

    class Stopping(Checkpoint):
        def save(self, state):
            super().save(state)
            saved.append(state["epoch"])
            if state["epoch"] == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(epochs=5, checkpoint=Stopping(tmp_path / "state.pt"))
    assert saved == [2, 3]
    state, history = trained(epochs=5, checkpoint=Checkpoint(tmp_path / "state.pt"))
    assert history.equals(expected_history)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


class Operations(TorchDispatchMode):
    """Records the names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def begun_trainer(**changes):
    begun = Trainer(
        tiny_classifier(),
        labelled_images(16),
        Recipe(**(RECIPE | changes)),
        pretrained=False,
        team=SINGLE_PROCESS,
        checkpoint=None,
    )
    begun.begin()
    begun.step.rates_on_device = True
    begun.step.begin_epoch(begun._plan(1), [1e-3, 1e-3])
    return begun


def test_a_step_takes_nothing_from_the_host(monkeypatch):
    """After the first one, which keeps constants. One number is read: that of the steps that the
    average has followed, which is on the CPU."""
    monkeypatch.setattr(device, "_free_bytes", lambda _: 2**30)  # so that the images are there
    step = begun_trainer().step
    step.run(8)
    assert isinstance(step.optimiser.param_groups[0]["lr"], Tensor)
    with Operations() as operations:
        step.compute(8)
    assert len(operations.names) > 50
    assert [name for name in operations.names if name in HOST] in ([], ["_local_scalar_dense"])


def test_views_of_several_sizes_do_take_something_from_the_host():
    """So the test above sees what it looks for."""
    step = begun_trainer(zoom_out=1.0).step
    step.run(8)
    with Operations() as operations:
        step.compute(8)
    assert sum(name in HOST for name in operations.names) > 8


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"team": Team(0, 2)}, "several processes train together"),
        ({"resident": False}, "its memory does not hold all training images"),
        ({"zoom_out": 0.3}, "zoom_out makes views of different sizes"),
        ({}, None),
    ],
)
def test_why_steps_are_not_replayed_is_said(change, reason, monkeypatch, caplog):
    begun = begun_trainer(zoom_out=change.get("zoom_out", 0.0))
    begun.device = torch.device("cuda")
    begun.team = change.get("team", SINGLE_PROCESS)
    images = begun.step.images
    resident = None if "resident" in change else torch.zeros(1)
    begun.step.images = device.Images(images.pixels, images.rows, images.device, resident)
    monkeypatch.setattr(trainer, "Graphs", StandIn)
    run = begun._fastest()
    if reason is None:
        assert run.__self__.__class__ is Replay
        assert not caplog.messages
    else:
        assert run == begun.step.run
        (message,) = caplog.messages
        assert message.endswith(f": {reason}")


def test_on_a_cpu_nothing_is_replayed_and_nothing_is_said(caplog):
    begun = begun_trainer()
    assert begun._fastest() == begun.step.run
    assert not caplog.messages
