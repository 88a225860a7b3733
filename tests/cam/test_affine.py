"""Guided Grad-CAM has maps where all activation functions are ReLU, and a line where one is not,
however it is written. Over a family of small random networks, against hooks on their ReLUs."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pokecam.cam.affine import functions_other_than_relu
from pokecam.cam.anywhere import cut
from pokecam.cam.capture import capture
from pokecam.cam.guided import guided_backpropagation
from pokecam.cam.maps import class_targets, compute_maps
from pokecam.common.errors import InputError

C = 3

# What guided backpropagation has a rule for, as a module, a function, a method, in place.
RELUS = {
    "ReLU": nn.ReLU(),
    "ReLU in place": nn.ReLU(inplace=True),
    "ReLU6": nn.ReLU6(),
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "Tensor.relu": lambda x: x.relu(),
    "F.relu6": F.relu6,
    "F.hardtanh as ReLU6": lambda x: F.hardtanh(x, 0.0, 6.0),
    "F.relu_": lambda x: F.relu_(x.clone()),
}
# What it leaves as it is: linear, maxima, normalisation by statistics.
OTHERS_THAT_FIT = {
    "BatchNorm": nn.BatchNorm2d(4),
    "GroupNorm": nn.GroupNorm(2, 4),
    "max pooling": nn.MaxPool2d(3, 1, 1),
    "average pooling": nn.AvgPool2d(3, 1, 1),
    "dropout": nn.Dropout(),
    "a constant factor": lambda x: 0.5 * x,
    "a fraction": lambda x: x / 3,
    "a mask that is constant": lambda x: torch.where(torch.arange(x.shape[-1]) > 2, x, 0),
    "a shift": lambda x: x.roll(1, -1),
    "interpolation": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "padding": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "shuffled channels": lambda x: x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2),
    "halves put together": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "a shortcut": lambda x: x + x.mean((2, 3), keepdim=True),
    "einsum": lambda x: torch.einsum("nchw,ck->nkhw", x, torch.eye(4)),
}
OTHER_FUNCTIONS = {
    "PReLU": nn.PReLU(),
    "RReLU": nn.RReLU(),
    "LeakyReLU": nn.LeakyReLU(),
    "ELU": nn.ELU(),
    "SELU": nn.SELU(),
    "CELU": nn.CELU(),
    "GELU": nn.GELU(),
    "SiLU": nn.SiLU(),
    "Mish": nn.Mish(),
    "Softplus": nn.Softplus(),
    "Hardtanh": nn.Hardtanh(),
    "Hardswish": nn.Hardswish(),
    "Hardsigmoid": nn.Hardsigmoid(),
    "Hardshrink": nn.Hardshrink(),
    "Softshrink": nn.Softshrink(),
    "Softsign": nn.Softsign(),
    "Tanhshrink": nn.Tanhshrink(),
    "LogSigmoid": nn.LogSigmoid(),
    "Threshold": nn.Threshold(0.0, 0.0),
    "Softmax2d": nn.Softmax2d(),
    "local response normalisation": nn.LocalResponseNorm(3),
    "GLU": lambda x: F.glu(torch.cat([x, x], 1), 1),
    "clamp": lambda x: x.clamp(min=0),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "its own mask": lambda x: x * (x > 0),
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "indexing by itself": lambda x: x.masked_fill(x < 0, 0),
    "in place": lambda x: x.clone().clamp_(0),
    "absolute value": lambda x: (x + x.abs()) / 2,
    "square": lambda x: x**2,
    "product": lambda x: x * x,
    "gate": lambda x: x * x.mean((2, 3), keepdim=True).relu(),
    "division": lambda x: x / (1 + x.std()),
    "by numbers of numpy": lambda x: x * torch.from_numpy((x.detach().numpy() > 0).astype("f4")),
    "detached": lambda x: x.detach().relu() + 0 * x,
    "sorted": lambda x: x.sort(dim=1).values,
}


class Layers(nn.Module):
    """Convolutions with functions between them."""

    def __init__(self, functions, mlp: bool) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(3 if i == 0 else 4, 4, 3, 1, 1) for i in range(len(functions))]
        self.convolutions = nn.ModuleList(convolutions)
        self.functions = functions
        self.modules_of_functions = nn.ModuleList(
            function for function in functions if isinstance(function, nn.Module)
        )
        self.last = nn.Identity()
        self.hidden = nn.Sequential(nn.Linear(4, 5), nn.ReLU()) if mlp else nn.Identity()
        self.out = nn.Linear(5 if mlp else 4, C)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, function in zip(self.convolutions, self.functions, strict=True):
            x = function(convolution(x))
        return self.out(self.hidden(self.last(x).mean((2, 3))))


def build(functions, mlp=False) -> Layers:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Layers([nn.ReLU(), *functions], mlp).eval()


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def guided_by_hand(network: nn.Module, x: Tensor) -> Tensor:
    """Guided backpropagation (C, N, 3, H, W) of a network of ReLU modules: hooks on their
    gradients."""

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, cap):
            ctx.save_for_backward((x > 0) & (x < cap))
            return x.clamp(0, cap)

        @staticmethod
        def backward(ctx, g):
            return g * (g > 0) * ctx.saved_tensors[0], None

    handles = [
        module.register_forward_hook(
            lambda m, inputs, _output: Guided.apply(
                inputs[0], 6.0 if isinstance(m, nn.ReLU6) else float("inf")
            )
        )
        for module in network.modules()
        if isinstance(module, nn.ReLU | nn.ReLU6)
    ]
    x = x.clone().requires_grad_()
    logits = network(x)
    gradients = [torch.autograd.grad(logits[:, c].sum(), x, retain_graph=True)[0] for c in range(C)]
    for handle in handles:
        handle.remove()
    return torch.stack(gradients)


def is_refused(network: nn.Module) -> bool:
    try:
        compute_maps(capture(cut(network, images(), "last"), images()), "guided_grad_cam")
    except InputError as error:
        if "is defined for networks whose activation functions are all ReLU" not in str(error):
            raise
        return True
    return False


MODULES = {
    name: function
    for name, function in {**RELUS, **OTHERS_THAT_FIT}.items()
    if not (isinstance(function, nn.Module) and getattr(function, "inplace", False))
    and (isinstance(function, nn.Module) or name in OTHERS_THAT_FIT)
}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(MODULES)), min_size=1, max_size=3), st.booleans())
def test_networks_of_relus_have_the_gradients_of_hooks(names, mlp):
    network = build([MODULES[name] for name in names], mlp)
    assert not is_refused(network)
    x = images()
    targets = class_targets(network(x).detach())
    torch.testing.assert_close(
        guided_backpropagation(network, x, targets), guided_by_hand(network, x)
    )


@pytest.mark.parametrize("name", RELUS)
def test_every_form_of_relu_is_the_module(name):
    x = images()
    module = nn.ReLU6() if "6" in name else nn.ReLU()
    expected, network = build([module]), build([RELUS[name]])
    assert not is_refused(network)
    targets = class_targets(network(x).detach())
    torch.testing.assert_close(
        guided_backpropagation(network, x, targets), guided_by_hand(expected, x)
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(OTHER_FUNCTIONS)),
    st.lists(st.sampled_from(sorted(MODULES)), max_size=2),
    st.integers(0, 2),
)
def test_one_other_function_among_relus_is_refused(name, names, position):
    functions = [MODULES[other] for other in names]
    functions.insert(position, OTHER_FUNCTIONS[name])
    assert is_refused(build(functions))


@pytest.mark.parametrize("name", OTHER_FUNCTIONS)
def test_every_other_function_is_refused(name):
    assert is_refused(build([OTHER_FUNCTIONS[name]]))


def test_a_network_without_relu_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert functions_other_than_relu(network, images()) == ["no ReLU"]
