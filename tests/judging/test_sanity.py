"""Re-initialisation changes the blocks that it names and nothing else; similarities against numbers
worked out by hand, scipy and a plain loop over windows."""

import numpy as np
import pytest
import torch
from torch import nn

from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.maps import compute_maps
from pokecam.judging import sanity
from pokecam.judging.ranks import rank_correlation
from pokecam.judging.sanity import ignores_network, randomised_networks, ssim
from pokecam.networks.classifier import Classifier, build_classifier
from tests.judging import halves
from tests.support.networks import SIZE_PX, size_px

C1, C2 = 0.01**2, 0.03**2

# The blocks in the default number of steps, which is five.
BLOCKS = {
    "resnet18": ["head", "layer4", "layer3", "layer2", "conv1"],
    "mobilenet_v3_small": ["head", "features.10", "features.7", "features.4", "features.0"],
    "squeezenet1_1": ["head", "features.11", "features.9", "features.6", "features.0"],
    "convnext_tiny": ["head", "features.6", "features.4", "features.2", "features.0"],
    "swin_t": ["head", "features.6", "features.4", "features.2", "features.0"],
    "vit_b_32": ["head", *(f"encoder.layers.encoder_layer_{i}" for i in (9, 6, 3)), "conv_proj"],
}


def trained_network(backbone, head="gap"):
    """A network whose parameters and statistics all differ from those of initialisation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_classifier(backbone, head, "abc", size_px(backbone)).eval()
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.05 * torch.rand_like(tensor)
            elif tensor.ndim == 0:  # BatchNorm's count of batches
                tensor += 7
    return network


def clone(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed_names(old_state, network):
    new_state = network.state_dict()
    assert new_state.keys() == old_state.keys()
    return {name for name, tensor in old_state.items() if not torch.equal(new_state[name], tensor)}


def several_elements(module, prefix=""):
    return {prefix + name for name, w in module.named_parameters() if w.numel() > 1}


@pytest.mark.parametrize("backbone", BLOCKS)
def test_cascade(backbone):
    network = trained_network(backbone)
    network.head.train()
    next(network.body.parameters()).requires_grad_(False)
    modes = [module.training for module in network.modules()]
    old_state, rng_state = clone(network), torch.get_rng_state()
    x = torch.rand(1, 3, network.image_size, network.image_size)
    torch.set_rng_state(rng_state)
    blocks, last_names = [], set()

    for block, randomised in randomised_networks(network, 1):
        assert torch.equal(torch.get_rng_state(), rng_state)
        assert [module.training for module in randomised.modules()] == modes
        assert [w.requires_grad for w in randomised.parameters()] == [
            w.requires_grad for w in network.parameters()
        ]
        assert [w.stride() for w in randomised.parameters()] == [
            w.stride() for w in network.parameters()
        ]
        with torch.no_grad():
            assert randomised(x).isfinite().all()
        names = changed_names(old_state, randomised)
        if block == "head":
            assert names == several_elements(network.head, "head.")
        else:
            assert names > last_names
            assert any(name.startswith(f"body.{block}.") for name in names - last_names)
        blocks.append(block)
        last_names = names

    assert blocks == BLOCKS[backbone]
    assert several_elements(network) <= last_names
    # Buffers that are not learnt, such as the table of positions of Swin, stay.
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learnable = {name for name, _ in network.named_parameters()}
    assert all(name.endswith(statistics) for name in last_names - learnable)
    for module in randomised.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.running_mean == 0).all()
            assert (module.running_var == 1).all()
            assert module.num_batches_tracked == 0
    assert not changed_names(old_state, network)
    assert [module.training for module in network.modules()] == modes


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "mobilenet_v3_small", "resnet18"])
def test_native_heads_are_reinitialised_as_a_whole(backbone):
    network = trained_network(backbone, "native")
    _, randomised = next(randomised_networks(network, 1))
    names = changed_names(clone(network), randomised)
    assert names == several_elements(network.head, "head.")


def test_more_steps_divide_sequentials():
    network = trained_network("resnet18")
    old_state = clone(network)
    steps = [
        (block, changed_names(old_state, randomised))
        for block, randomised in randomised_networks(network, 1, steps=99)
    ]
    rows = [f"layer{layer}.{i}" for layer in (4, 3, 2, 1) for i in (1, 0)]
    assert [block for block, _ in steps] == ["head", *rows, "conv1"]
    # The first normalisation goes with the convolution before it.
    last = steps[-1][1] - steps[-2][1]
    assert {name.rsplit(".", 1)[0] for name in last} == {"body.conv1", "body.bn1"}


def test_torchvisions_blocks_are_not_divided():
    blocks = [
        block
        for block, _ in randomised_networks(trained_network("mobilenet_v3_small"), 1, steps=99)
    ]
    assert blocks == ["head", *(f"features.{i}" for i in reversed(range(13)))]


def test_fewest_steps_are_the_head_and_everything():
    network = trained_network("squeezenet1_1")
    (first, _), (last, randomised) = randomised_networks(network, 1, steps=2)
    assert (first, last) == ("head", "features")
    assert several_elements(network) <= changed_names(clone(network), randomised)


def last_of(steps):
    *_, (_, randomised) = steps
    return randomised


def test_random_weights_follow_from_seed_and_name_alone():
    network = trained_network("mobilenet_v3_small")
    expected = clone(last_of(randomised_networks(network, 1)))
    torch.rand(5)
    assert not changed_names(expected, last_of(randomised_networks(network, 1)))
    assert not changed_names(expected, last_of(randomised_networks(network, 1, steps=3)))
    other = changed_names(expected, last_of(randomised_networks(network, 2)))
    assert {name for name, w in network.named_parameters() if w.ndim > 1} <= other
    # Layers of the same shape have different weights.
    kernels = [w for w in expected.values() if w.shape == (576, 1, 5, 5)]
    assert len(kernels) == 2
    assert not torch.equal(*kernels)


def test_reinitialised_weights_stay_the_same_in_later_steps():
    network = trained_network("squeezenet1_1")
    old_state = clone(network)
    steps = [
        (changed_names(old_state, randomised), clone(randomised))
        for _, randomised in randomised_networks(network, 1)
    ]
    end = steps[-1][1]
    assert all(torch.equal(state[name], end[name]) for names, state in steps for name in names)


def test_copies_are_independent():
    network = trained_network("squeezenet1_1")
    old_state, expected = clone(network), clone(last_of(randomised_networks(network, 1)))
    for _, randomised in randomised_networks(network, 1):
        actual = clone(randomised)
        with torch.no_grad():
            for weights in randomised.parameters():
                weights.zero_()
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())
    assert not changed_names(old_state, network)


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode])
def test_inside_a_block_without_gradients(surrounding):
    network = trained_network("squeezenet1_1")
    expected = clone(last_of(randomised_networks(network, 1)))
    with surrounding():
        randomised = last_of(randomised_networks(network, 1))
    assert not changed_names(expected, randomised)
    randomised(torch.rand(1, 3, SIZE_PX, SIZE_PX)).sum().backward()


class Scale(nn.Module):
    """Parameters without `reset_parameters`, as torchvision's blocks have them."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((10_000, 1, 1), 3.0))
        self.zeros = nn.Parameter(torch.zeros(4))
        self.scalar = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("table", torch.arange(3))


def test_random_weights_by_hand():
    convolution = nn.Conv2d(4, 2500, 1)
    body = nn.Sequential(convolution, nn.BatchNorm2d(2500), Scale())
    head = nn.Sequential(nn.Linear(2500, 2))
    for weights in [*convolution.parameters(), *body[1].parameters(), *head.parameters()]:
        weights.data.fill_(7)
    classifier = Classifier(
        body, head, backbone="resnet18", head_kind="gap", classes="ab", image_size=8
    )
    randomised = last_of(randomised_networks(classifier, 1)).requires_grad_(False)
    convolution, norm, scale = randomised.body
    # The rule of PyTorch for convolutions and linear layers: uniform within ±1/√(inputs).
    assert 0.49 < convolution.weight.abs().max() <= 0.5
    assert convolution.weight.std() == pytest.approx(0.5 / 3**0.5, rel=0.02)
    assert randomised.head[0].weight.abs().max() <= 1 / 50
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()
    # Other parameters: normal, as large as the tensor was.
    assert scale.scale.mean() == pytest.approx(0, abs=5 * 3 / 100)
    assert scale.scale.square().mean().sqrt() == pytest.approx(3, rel=0.05)
    assert (scale.scale.abs() < 3).double().mean() == pytest.approx(0.683, abs=0.025)
    assert not scale.zeros.any()
    assert scale.scalar.isfinite()
    assert scale.scalar != 2
    assert scale.table.tolist() == [0, 1, 2]


def test_ssim_by_hand():
    a = np.random.default_rng(0).random((16, 16))
    assert ssim(a, a) == pytest.approx(1)
    # Without variance the second factor is C2/C2.
    p, q = np.full((16, 16), 0.2), np.full((16, 16), 0.7)
    assert ssim(p, q) == pytest.approx((2 * 0.2 * 0.7 + C1) / (0.2**2 + 0.7**2 + C1))
    # One window, one bright pixel in its middle, against nothing: mean and mean square are both
    # the middle weight of the window.
    spot = np.zeros((11, 11))
    spot[5, 5] = 1
    middle = 1 / sum(np.exp(-(k**2) / (2 * 1.5**2)) for k in range(-5, 6)) ** 2
    expected = C1 / (middle**2 + C1) * C2 / (middle - middle**2 + C2)
    assert ssim(spot, 0 * spot) == pytest.approx(expected)


def slow_ssim(a, b):
    """A loop over windows, with moments about the means."""
    distance = np.arange(-5, 6)
    window = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))
    window /= window.sum()
    if len(a) < 11:
        a, b = (np.pad(m, 5, mode="symmetric") for m in (a, b))
    values = []
    for i in range(len(a) - 10):
        for j in range(len(a) - 10):
            x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            var_x = (window * (x - mean_x) ** 2).sum()
            var_y = (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
            values.append(luminance * (2 * covariance + C2) / (var_x + var_y + C2))
    return np.mean(values)


@pytest.mark.parametrize("side", [7, 10, 11, 12, 23])
def test_ssim_equals_a_loop_over_windows(side):
    rng = np.random.default_rng(side)
    a = rng.random((2, 3, side, side), dtype=np.float32)
    b = (0.7 * a + 0.3 * rng.random(a.shape, dtype=np.float32)).clip(0, 1)
    actual = ssim(a, b)
    assert actual.dtype == np.float64
    for i in np.ndindex(2, 3):
        expected = slow_ssim(a[i].astype(float), b[i].astype(float))
        assert actual[i] == pytest.approx(expected, abs=1e-10)


def test_similarities_are_symmetric_and_do_not_change_their_input():
    a, b = np.random.default_rng(0).random((2, 4, 16, 16))
    copies = a.copy(), b.copy()
    for measure in (ssim, rank_correlation):
        np.testing.assert_allclose(measure(a, b), measure(b, a), rtol=1e-12)
        assert (np.abs(measure(a, b)) < 1).all()
    np.testing.assert_array_equal((a, b), copies)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("correlations", "expected"),
    [
        ([1.0, 0.95], True),
        ([1.0, -1.0], True),  # reversed signs show the same image
        ([1.0, np.nan], True),
        ([0.9, 0.9], False),
        ([1.0, 0.5, -0.5], False),
        ([np.nan], False),
        ([], False),
    ],
)
def test_ignores_network(correlations, expected):
    assert ignores_network(np.array(correlations)) is expected


def test_baselines_ignore_the_network_and_grad_cam_does_not():
    network = trained_network("squeezenet1_1")
    x = torch.rand(8, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
    captures = [capture(network, x), capture(last_of(randomised_networks(network, 1)), x)]
    ignores = {}
    for method in ("grad_cam", "random", "centre", "edges"):
        heatmaps, randomised_heatmaps = (
            display(compute_maps(c, method)[:, 0].numpy(), SIZE_PX) for c in captures
        )
        ignores[method] = ignores_network(rank_correlation(heatmaps, randomised_heatmaps))
    assert ignores == {"grad_cam": False, "random": True, "centre": True, "edges": True}


def test_slow_methods_are_compared_on_fewer_images():
    cam = halves.build_case().maps["cam"]
    case = halves.build_case({"cam": cam, "score_cam": cam})
    indices, network = np.arange(halves.N), halves.build_network()
    table = sanity.compare_shuffled_labels(case, indices, network).set_index("method")
    assert list(table.index) == ["cam", "score_cam"]
    assert (table.n + table.constant).tolist() == [halves.N, halves.N / 2]
    assert table.rank_correlation["cam"] > 0.5  # the same network, the square in the same position
