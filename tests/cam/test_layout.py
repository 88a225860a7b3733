"""How the output of a layer is laid out, over a family of small networks whose layout the test
knows: the maps are those of the whole graph, or the layer is refused."""

import pytest
import torch
import torchvision
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch import nn

from pokecam.cam.anywhere import cut, heatmaps
from pokecam.cam.capture import capture
from pokecam.cam.layout import channels_first, channels_last
from pokecam.cam.maps import compute_maps
from pokecam.common.errors import InputError
from tests.support.small_networks import HEADS, LAYOUTS, Shape, build, images, whole_graph_maps

SIDES = st.integers(2, 7)


@st.composite
def shapes(draw):
    layout = draw(st.sampled_from(LAYOUTS))
    has_tokens = layout.startswith("tokens")
    size = draw(st.one_of(SIDES.map(lambda side: (side, side)), st.tuples(SIDES, SIDES)))
    return Shape(
        layout=layout,
        size=size,
        # Often as many channels as rows, columns or tokens, which confuses all who guess.
        channels=draw(st.sampled_from([3, 8, 16, size[0], size[1], size[0] * size[1]])),
        extra=draw(st.integers(0, 3)) if has_tokens else 0,
        extra_first=draw(st.booleans()),
        one_size=draw(st.booleans()) or has_tokens,
        head=draw(st.sampled_from(HEADS)),
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(shapes())
def test_maps_are_those_of_the_whole_graph_or_refused(shape):
    network, x = build(shape), images(shape)
    try:
        classifier = cut(network, x, "block")
    except InputError as error:
        message = str(error)
        if "could be laid out in more than one way" not in message:
            raise
        event("refused")
        n_tokens = shape.size[0] * shape.size[1] + shape.extra
        is_ambiguous = shape.channels in (*shape.size, n_tokens) or shape.size[0] != shape.size[1]
        assert shape.one_size
        assert is_ambiguous
        return
    captured = capture(classifier, x)
    torch.testing.assert_close(captured.logits, network(x))
    for method, expected in whole_graph_maps(network, "block", x, network.grid).items():
        torch.testing.assert_close(compute_maps(captured, method), expected)


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("size", [(6, 6), (3, 8), (8, 3)])
def test_as_many_channels_as_rows_and_columns_are_told_apart_by_other_images(layout, size):
    """The shape alone cannot tell them apart, a second image of another size can."""
    for channels in {*size, 5}:
        shape = Shape(layout, size, channels)
        classifier = cut(build(shape), images(shape), "block")
        assert classifier._grid is (channels_last if layout == "last" else channels_first)


def test_the_layout_of_one_size_and_equal_sides_is_refused():
    shape = Shape("last", (6, 6), 6, one_size=True)
    with pytest.raises(
        InputError, match=r"block gives \(1, 6, 6, 6\) for an image of 24 × 24 px, w"
    ):
        cut(build(shape), images(shape), "block")
    classifier = cut(build(shape), images(shape), "block", grid=channels_last)
    assert capture(classifier, images(shape)).activations.shape == (2, 6, 6, 6)


@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("size", [(4, 9), (9, 4), (3, 12)])  # as many tokens as a square of 6 × 6
def test_tokens_of_an_image_that_is_not_square_are_laid_out_in_its_proportions(size, extra):
    shape = Shape("tokens", size, 8, extra=extra, one_size=True)
    captured = capture(cut(build(shape), images(shape), "block"), images(shape))
    assert captured.activations.shape == (2, 8, *size)


def test_tokens_without_a_convolution_before_them_follow_the_proportions_of_the_image():
    class Unfolded(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(48, 8), nn.ReLU())
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            tokens = nn.functional.unfold(x, 4, stride=4).movedim(1, 2)
            return self.head(self.block(tokens)[:, : 4 * 9].mean(1))

    network = Unfolded().eval()
    with torch.no_grad():
        assert cut(network, torch.rand(1, 3, 16, 36), "block").grid(torch.rand(1, 36, 8)).shape == (
            *(1, 8),
            *(4, 9),
        )
    with pytest.raises(InputError, match=r"block gives \(1, 35, 8\) .* is neither a map"):
        cut(network, torch.rand(1, 3, 20, 31), "block")  # 5 × 7 patches, cut off at the border


def test_tokens_are_of_images_of_the_size_they_were_divided_with():
    shape = Shape("tokens", (4, 9), 8, one_size=False)
    other = Shape("tokens", (6, 6), 8)
    network = build(shape)
    classifier = cut(network, images(shape), "block")
    with pytest.raises(
        InputError, match=r"x: images \(3, 24, 24\) given to a network that was div"
    ):
        heatmaps(classifier, images(other))


def test_tokens_that_stand_after_or_among_the_patches_are_left_out():
    """As in networks that put the class token at the end, or in the middle."""
    for position in (0, 5, 16):

        class Inserted(nn.Module):
            def __init__(self, position=position):
                super().__init__()
                self.patches = nn.Conv2d(3, 8, 4, 4)
                self.token = nn.Parameter(torch.randn(1, 1, 8))
                self.embedding, self.block, self.head = nn.Identity(), nn.ReLU(), nn.Linear(8, 3)
                self.position = position

            def forward(self, x):
                tokens = self.patches(x).flatten(2).movedim(1, 2)
                before, after = tokens[:, : self.position], tokens[:, self.position :]
                tokens = torch.cat([before, self.token.expand(len(x), 1, 8), after], dim=1)
                return self.head(self.block(self.embedding(tokens)).mean(1).tanh())

        network, x = Inserted().eval(), torch.rand(1, 3, 16, 16)
        captured = capture(cut(network, x, "block"), x)
        torch.testing.assert_close(captured.activations, network.patches(x).relu())


@pytest.mark.parametrize("order", ["columns", "windows"])
def test_tokens_that_do_not_lie_row_by_row_are_refused(order):
    """As in Hiera, whose tokens are in the order of its windows."""

    class Reordered(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.block, self.head = nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Linear(8, 3)

        def forward(self, x):
            A = self.patches(x)
            if order == "columns":
                A = A.transpose(2, 3)
            else:  # the four positions in windows of 2 × 2, one after another
                A = A.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).permute(0, 1, 3, 5, 2, 4)
            return self.head(self.block(A.flatten(2).movedim(1, 2)).mean(1))

    network, x = Reordered().eval(), torch.rand(1, 3, 32, 32)
    with pytest.raises(InputError, match=r"block gives \(1, 64, 8\) for an image of 32 × 32 px,"):
        cut(network, x, "block")


def test_a_network_that_adapts_itself_to_an_image_is_given_back():
    """As the Swin Transformer of `transformers`, which narrows its windows for good."""

    class Adapting(nn.Module):
        def __init__(self):
            super().__init__()
            self.window = 4
            self.register_buffer("scale", torch.ones(1))
            self.patches, self.block, self.head = nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Linear(8, 3)

        def forward(self, x):
            A = self.patches(x)
            if min(A.shape[-2:]) < self.window:
                self.window, self.scale = min(A.shape[-2:]), self.scale * 2
            return self.head((self.block(A) * self.scale).mean((2, 3)) + self.window)

    network, x = Adapting().eval(), torch.rand(1, 3, 16, 16)
    logits = network(x)
    classifier = cut(network, x, "block")
    assert network.window == 4
    torch.testing.assert_close(network(x), logits)
    torch.testing.assert_close(classifier(x), logits)


def test_torchvisions_swin_needs_no_grid():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.swin_t(num_classes=3).eval()
    x = torch.rand(1, 3, 64, 96)
    expected = compute_maps(capture(cut(network, x, "permute"), x), "layer_cam")
    actual = compute_maps(capture(cut(network, x, "norm"), x), "layer_cam")
    torch.testing.assert_close(actual, expected)
    assert capture(cut(network, x, "features.7"), x).activations.shape == (1, 768, 2, 3)
