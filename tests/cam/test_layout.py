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
from tests.support.api_cases import ColumnsFirst
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


@pytest.mark.parametrize("layout", ["first", "last"])
def test_one_size_and_equal_sides_are_told_apart_by_where_the_activations_change(layout):
    shape = Shape(layout, (6, 6), 6, one_size=True)
    classifier = cut(build(shape), images(shape), "block")
    assert classifier._grid is (channels_last if layout == "last" else channels_first)


def test_columns_before_rows_are_refused_or_described():
    network, x = ColumnsFirst().double().eval(), torch.rand(1, 3, 24, 24).double()
    with pytest.raises(InputError, match=r"block gives \(1, 6, 6, 8\) for an image of 24 × 24 px,"):
        cut(network, x, "block")
    classifier = cut(network, x, "block", grid=lambda A: A.permute(0, 3, 2, 1))
    expected = whole_graph_maps(network, "block", x, lambda A: A.permute(0, 3, 2, 1))
    captured = capture(classifier, x)
    for method, raw in expected.items():
        torch.testing.assert_close(compute_maps(captured, method), raw)


def test_a_grid_that_does_not_give_a_map_is_refused():
    shape = Shape("last", (6, 6), 8)
    with pytest.raises(InputError, match=r"grid: turns \(1, 6, 6, 8\) into \(1, 8\); give a func"):
        cut(build(shape), images(shape), "block", grid=lambda A: A.mean((1, 2)))


@pytest.mark.parametrize("layout", ["first", "last", "tokens", "tokens last"])
def test_ablation_cam_switches_off_channels_in_every_layout(layout):
    shape = Shape(layout, (4, 5), 7, one_size=True, head="mlp", extra=int("tok" in layout))
    network, x = build(shape), images(shape)
    actual = compute_maps(capture(cut(network, x, "block"), x), "ablation_cam")
    A = network.block(network.embedding(network.arrange(tokens_of(network, x))))
    logits, weights = network(x), []
    for k in range(7):
        changed = A.clone()
        changed.select(1 if layout in ("first", "tokens last") else -1, k).zero_()
        pooled = network.grid(changed).mean((-2, -1))
        weights.append(logits - network.mlp(pooled))
    expected = torch.einsum("knc,nkhw->nchw", torch.stack(weights), network.grid(A))
    torch.testing.assert_close(actual, expected.detach())


def tokens_of(network, x):
    """What `SmallNetwork.forward` arranges."""
    A = network.patches(x) + network.position
    if not network.shape.layout.startswith("tokens"):
        return A
    extra = network.extra.expand(len(x), -1, -1)
    return torch.cat([extra, A.flatten(2)], dim=2)


def test_a_class_token_after_the_patches_of_a_post_norm_encoder():
    """Its first output has mixed the tokens already; its first input has not."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.token = nn.Conv2d(3, 32, 8, 8), nn.Parameter(torch.randn(1, 1, 32))
            layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(32, 4)

        def forward(self, x):
            patches = self.patches(x).flatten(2).movedim(1, 2)
            tokens = torch.cat([patches, self.token.expand(len(x), 1, 32)], dim=1)
            return self.head(self.encoder(tokens).mean(1))

    classifier = cut(Encoder().eval(), torch.rand(1, 3, 112, 112), "encoder.layers.1")
    assert classifier._grid.extra == (196,)


@pytest.mark.parametrize(
    "convolutions",
    [
        [nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 5), nn.ReLU(), nn.Conv2d(8, 8, 5)],
        [nn.Conv2d(3, 8, 3, (2, 1), 1), nn.ReLU(), nn.Conv2d(8, 8, 3, (2, 1), 1)],
    ],
    ids=["without padding", "two strides"],
)
def test_the_default_layer_is_the_last_map_whatever_its_proportions(convolutions):
    network = nn.Sequential(
        *convolutions, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    ).eval()
    assert cut(network, torch.rand(1, 3, 32, 64)).cam_layer == str(len(convolutions))


def test_tokens_before_images_are_no_earlier_map():
    class SequenceFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 8, 8)
            layer = nn.TransformerEncoderLayer(16, 4, 32)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            return self.head(self.encoder(self.patches(x).flatten(2).permute(2, 0, 1)).mean(0))

    with pytest.raises(InputError, match=r"gives \(16, 1, 16\) for an image of 32 × 32 px"):
        cut(SequenceFirst().eval(), torch.rand(1, 3, 32, 32))


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
