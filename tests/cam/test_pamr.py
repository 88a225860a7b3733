"""Maps with PAMR, against the definition written out, and their properties."""

import numpy as np
import pytest
import torch

from pokecam.cam import pamr
from pokecam.cam.capture import capture
from pokecam.cam.maps import compute_maps
from pokecam.cam.pamr import DILATIONS, SIDE_PX, TEMPERATURE, refine
from pokecam.networks.classifier import build_classifier

LEFT = np.s_[..., :, :10]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1)


def two_colours(side: int = 20) -> torch.Tensor:
    """An image whose left half has one colour and the right another."""
    x = torch.zeros(1, 3, side, side)
    x[LEFT] = torch.tensor([1.0, -0.5, 2.0])[:, None, None]
    return x


def written_out(x: np.ndarray, m: np.ndarray, steps: int) -> np.ndarray:
    """The definition, pixel by pixel: x (3, H, W), m (H, W)."""
    H, W = m.shape
    offsets = [(dy, dx) for d in DILATIONS for dy in (-d, 0, d) for dx in (-d, 0, d) if dy or dx]
    for _ in range(steps):
        result = np.empty_like(m)
        for i in range(H):
            for j in range(W):
                neighbours = [
                    (min(max(i + dy, 0), H - 1), min(max(j + dx, 0), W - 1)) for dy, dx in offsets
                ]
                colours = np.array([x[:, a, b] for a, b in neighbours])  # (J, 3)
                spread = np.vstack([colours, x[:, i, j]]).std(axis=0, ddof=1)
                weights = np.exp(-(np.abs(colours - x[:, i, j]) / (TEMPERATURE * spread)).mean(1))
                result[i, j] = weights @ [m[a, b] for a, b in neighbours] / weights.sum()
        m = result
    return m


def test_as_the_definition_written_out(monkeypatch):
    monkeypatch.setattr(pamr, "STEPS", 3)
    rng = np.random.default_rng(1)
    x, m = rng.normal(size=(3, 7, 9)), rng.random((7, 9))
    actual = refine(torch.tensor(x)[None], torch.tensor(m)[None, None])
    np.testing.assert_allclose(actual[0, 0].numpy(), written_out(x, m, steps=3), rtol=1e-6)


def test_a_map_spreads_over_its_colour_and_stays_in_it():
    m = torch.zeros(1, 1, 20, 20)
    m[0, 0, 8:12, 3:6] = 1
    result = refine(two_colours(), m)[0, 0]
    assert result[LEFT].min() > 0.5 * result[LEFT].max() > 0
    assert result[:, 10:].max() < 1e-3 * result[LEFT].min()


def test_an_image_of_one_colour_only_blurs():
    """All neighbours count the same: one step is their plain mean."""
    x = torch.ones(1, 3, 5, 5)
    alpha = pamr._affinities(x)
    torch.testing.assert_close(alpha, torch.full_like(alpha, 1 / (8 * len(DILATIONS))))


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.3])
def test_an_empty_map_stays_empty(value):
    result = refine(torch.rand(2, 3, 30, 30), torch.full((2, 4, 3, 3), value))
    assert (result == max(value, 0)).all()


def test_it_is_a_mean_and_is_mirrored_with_the_image():
    x, m = torch.rand(2, 3, 48, 48).double(), torch.randn(2, 3, 6, 6).double()
    result = refine(x, m)
    assert result.min() >= 0
    assert (result.amax((2, 3)) <= m.relu().amax((2, 3)) + 1e-12).all()
    torch.testing.assert_close(refine(x.flip(3), m.flip(3)), result.flip(3))


@pytest.mark.parametrize(
    ("image", "size"),
    [((112, 224), (28, SIDE_PX)), ((20, 30), (20, 30)), ((1000, 10), (SIDE_PX, 1))],
)
def test_the_size_is_in_proportion_to_the_image_and_no_larger(image, size):
    assert refine(torch.rand(1, 3, *image), torch.rand(1, 2, 4, 4)).shape == (1, 2, *size)


def test_every_class_of_every_image_by_itself():
    captured = capture(
        build_classifier("resnet18", "gap", ["Ant", "Bee"], 64), torch.rand(3, 3, 64, 64)
    )
    for method in ("cam", "grad_cam"):
        actual = compute_maps(captured, f"pamr_{method}")
        expected = refine(captured.x[1:2], compute_maps(captured, method)[1:2, 1:2])
        torch.testing.assert_close(actual[1:2, 1:2], expected)


@pytest.mark.parametrize("at", [0, 111, 222])
def test_a_map_finer_than_the_result_loses_no_peak(at):
    """For example a map of the gradients of an early layer."""
    m = torch.zeros(1, 1, 224, 224)
    m[0, 0, at, at] = 1
    assert refine(torch.ones(1, 3, 224, 224), m).max() > 0
