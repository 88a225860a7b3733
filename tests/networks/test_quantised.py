"""Quantised weights: their error, their files, and the errors for bad files."""

import pytest
import torch
from safetensors.torch import save_file

from pokecam.common.errors import InputError
from pokecam.networks import quantised, safetensors_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def test_values_on_the_grid_come_back_exactly(path):
    steps = torch.tensor([[127.0, -3, 0], [-127, 64, 1]])
    weight = steps * torch.tensor([[0.5], [0.25]])  # scales are powers of two: no rounding
    quantised.save_quantised({"w": weight}, path, {})
    assert torch.equal(quantised.load_quantised(path)["w"], weight)


def test_the_error_is_at_most_half_a_step_of_the_channel(path):
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    weight *= torch.logspace(-6, 3, 16).view(-1, 1, 1, 1)
    quantised.save_quantised({"w": weight}, path, {})
    error = (quantised.load_quantised(path)["w"] - weight).abs().flatten(1).amax(dim=1)
    step = weight.abs().flatten(1).amax(dim=1) / 127
    assert (error <= step / 2 * (1 + 1e-5)).all()
    assert (error > step / 4).all()  # it is really quantised


def test_the_relative_error_of_float16_is_at_most_1_in_2048(path):
    weight = torch.randn(64, 9, generator=torch.Generator().manual_seed(0))
    quantised.save_quantised({"w": weight}, path, {}, "float16")
    error = (quantised.load_quantised(path)["w"] - weight).abs()
    assert (error <= weight.abs() / 2048 + 2**-25).all()


def test_vectors_integers_and_metadata_come_back_unchanged(path):
    state = {
        "bn.running_var": torch.tensor([1e-9, 1e9]),
        "bn.num_batches_tracked": torch.tensor(7),
        "w": torch.zeros(2, 2),
    }
    quantised.save_quantised(state, path, {"backbone": "tiny"})
    loaded = quantised.load_quantised(path)
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert list(loaded) == sorted(state)
    assert safetensors_file.read_safetensors(path)[1]["backbone"] == "tiny"


def test_int8_is_a_quarter_as_large(path):
    quantised.save_quantised({"w": torch.randn(256, 1000)}, path, {})
    assert 256_000 < path.stat().st_size < 260_000


def test_the_same_state_gives_the_same_bytes(path, tmp_path):
    state = {"b": torch.randn(4, 4), "a": torch.randn(3)}
    quantised.save_quantised(state, path, {"x": "1", "y": "2"})
    quantised.save_quantised(state, tmp_path / "second", {"y": "2", "x": "1"})
    assert path.read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"w": torch.ones(2, 2, dtype=torch.int8)}, "has no w#scale"),
        ({"w#scale": torch.ones(2)}, "no tensor for w"),
        (
            {"w": torch.ones(2, 2, dtype=torch.int8), "w#scale": torch.ones(3)},
            "one float32 for each",
        ),
        ({"w": torch.ones(2, 2, dtype=torch.int8), "w#scale": torch.ones(2).half()}, "float16"),
        ({"w": torch.ones((), dtype=torch.int8), "w#scale": torch.ones(1)}, "one float32 for each"),
        (
            {"w": torch.ones(2, 2, dtype=torch.int8), "w#scale": torch.tensor([1.0, torch.inf])},
            "finite",
        ),
        ({"w": torch.ones(2, 2, dtype=torch.int8), "w#scale": torch.tensor([1.0, -1])}, "≥ 0"),
        ({"w": torch.ones(2, 2), "w#scale": torch.ones(2)}, "not int8"),
    ],
)
def test_scales_that_do_not_fit_are_refused(path, stored, message):
    save_file(stored, path)
    with pytest.raises(InputError, match=message):
        quantised.load_quantised(path)


def test_damaged_and_missing_files_are_refused(path):
    with pytest.raises(InputError, match="does not exist"):
        quantised.load_quantised(path)
    quantised.save_quantised({"w": torch.ones(8, 8)}, path, {})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="is not a safetensors file, or not a whole one"):
        quantised.load_quantised(path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_not_written(path, value):
    with pytest.raises(InputError, match="not finite"):
        quantised.save_quantised({"w": torch.full((2, 2), value)}, path, {})
    assert not path.exists()


def test_too_large_for_float16_is_refused(path):
    with pytest.raises(InputError, match="too large for float16"):
        quantised.save_quantised({"w": torch.full((2, 2), 1e5)}, path, {}, "float16")
