"""Occlusion: by hand, against a plain loop over regions, and by properties."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import adjusted_rand_score
from torch import nn

from pokecam.cam import occlusion
from pokecam.cam.capture import capture
from pokecam.cam.imputation import impute
from pokecam.cam.maps import compute_maps
from pokecam.networks.classifier import Classifier, GlobalAverage

METHODS = {"occlusion": [occlusion.by_similarity]}
METHODS["fine_occlusion"] = [occlusion.by_similarity, occlusion.by_distance]


def network(body, weight):
    """Average the channels of the body and apply a linear layer."""
    weight = torch.tensor(weight)
    head = nn.Sequential()
    head.pool, head.linear = GlobalAverage(), nn.Linear(weight.shape[1], len(weight))
    head.linear.weight.data, head.linear.bias.data = weight, torch.zeros(len(weight))
    classes = [str(c) for c in range(len(weight))]
    return Classifier(
        body, head, backbone="resnet18", head_kind="gap", classes=classes, image_size=32
    ).eval()


def discs(side, n_images=2, n_channels=3):
    """Images of discs in several colours, smooth enough for the superpixels to be large."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    images = np.zeros((n_images, n_channels, side, side), np.float32)
    for image in images:
        for _ in range(7):
            (cx, cy), radius = rng.random(2), rng.uniform(0.1, 0.25)
            image[:, np.hypot(x - cx, y - cy) < radius] = rng.normal(size=(n_channels, 1))
    return torch.from_numpy(images)


@pytest.fixture(scope="module")
def convolutional():
    """A network whose logits are not linear in the pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.Conv2d(6, 4, 3))
        return network(body, torch.randn(3, 4).tolist())


def test_by_hand(monkeypatch):
    """A square of 1 on 0, in a network that averages the pixels. Without the square nothing is
    left; without the background the square is everywhere. A second segmentation has one region,
    and without it the image is 0."""
    x = torch.zeros(1, 1, 32, 32)
    x[..., 8:16, 8:16] = 1
    square = x[0, 0].long()
    captured = capture(network(nn.Identity(), [[2.0], [-3.0]]), x)
    monkeypatch.setattr(occlusion, "by_similarity", lambda _: square.numpy())
    first = torch.stack([2 / 1024 * (2 * square - 1), -3 / 1024 * (2 * square - 1)])
    torch.testing.assert_close(compute_maps(captured, "occlusion")[0], first)
    monkeypatch.setattr(occlusion, "by_distance", lambda _: np.zeros((32, 32), int))
    second = torch.tensor([2.0, -3.0])[:, None, None] * 64 / 1024 / 1024
    torch.testing.assert_close(compute_maps(captured, "fine_occlusion")[0], (first + second) / 2)


def plain_loop(classifier, x, segmentations, limit):
    """Return the maps (C, S, S) of one image (3, S, S), one region after another."""
    values = x.permute(1, 2, 0).double().numpy()
    image = (values - values.min()) / np.ptp(values)
    size = [round(56 * side / max(x.shape)) for side in x.shape[1:]]
    result = torch.zeros(len(classifier.classes), *x.shape[1:])
    margin = round(3 * max(x.shape) / 224)
    for segment in segmentations:
        labels = torch.from_numpy(segment(image).astype(np.int64))
        falls = []
        for region in labels.unique():
            mask = (labels == region)[None, None].float()
            for _ in range(margin):
                cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
                mask = (torch.conv2d(mask, cross, padding=1) > 0).float()
            without = impute(x[None], mask[0] > 0)
            with torch.no_grad():
                fall = classifier(x[None])[0] - classifier(without)[0]
            falls.append((float((without - x).square().sum()), int(region), fall))
        falls.sort(key=lambda entry: entry[0], reverse=True)
        for _, region, fall in falls[:limit]:
            area = int((labels == region).sum())
            result[:, labels == region] += (fall / area)[:, None]
    return nn.functional.adaptive_avg_pool2d(result / len(segmentations), size)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("limit", [4, 1000])
def test_the_same_as_a_plain_loop(method, limit, convolutional, monkeypatch):
    """Filling in several regions at once changes the fills a little, by their coarse grids."""
    monkeypatch.setattr(occlusion, "QUICK_LIMIT", limit)
    monkeypatch.setattr(occlusion, "FINE_LIMIT", limit)
    x = discs(96)[..., :64] if limit == 4 else discs(96)
    maps = compute_maps(capture(convolutional, x), method)
    for image, of_image in zip(x, maps, strict=True):
        expected = plain_loop(convolutional, image, METHODS[method], limit)
        assert (of_image - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("method", METHODS)
def test_at_most_so_many_forward_passes(method, convolutional, monkeypatch):
    """An image of small squares has more regions than that; the others get 0."""
    x = torch.from_numpy(np.random.default_rng(0).random((1, 3, 14, 14)).astype(np.float32))
    x = x.repeat_interleave(16, 2).repeat_interleave(16, 3)
    captured, sizes = capture(convolutional, x), []
    logits_of = type(captured).logits_of

    def count_and_run(self, images):
        sizes.append(len(images))
        return logits_of(self, images)

    monkeypatch.setattr(type(captured), "logits_of", count_and_run)
    maps = compute_maps(captured, method)
    n_distance = occlusion.by_distance(occlusion._to_image(x[0])).max() + 1
    assert sum(sizes) == {"occlusion": 29, "fine_occlusion": 48 + min(48, n_distance)}[method]
    assert max(sizes) <= 32
    assert (maps == 0).any() == (method == "occlusion")


@pytest.mark.parametrize("method", METHODS)
def test_a_difference_of_maps_is_the_map_of_the_margin(method, convolutional):
    captured = capture(convolutional, discs(64))
    maps = compute_maps(captured, method)
    margin = torch.tensor([1.0, -1.0, 0.0]).expand(1, 2, 3)
    function = getattr(occlusion, method)
    torch.testing.assert_close(maps[:, :1] - maps[:, 1:2], function(captured, margin).detach())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_an_image_alone_and_any_channels(method, n_channels):
    body = nn.Conv2d(n_channels, 4, 3, padding=1)
    classifier = network(nn.Sequential(body, nn.ReLU()), torch.eye(4)[:2].tolist())
    x = discs(48, n_channels=n_channels)
    together = compute_maps(capture(classifier, x), method)
    alone = [compute_maps(capture(classifier, image[None]), method) for image in x]
    assert together.shape == (2, 2, 48, 48)
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("side", [1, 2, 7, 96])
def test_constant_and_tiny_images(method, side):
    """Without all of it, an image is 0 everywhere."""
    classifier = network(nn.Identity(), [[1.0, 0, 0]])
    maps = compute_maps(capture(classifier, torch.full((1, 3, side, side), 2.0)), method)
    assert maps.isfinite().all()
    assert (maps > 0).all()


def test_regions_grow_with_the_image():
    """So that an image is divided alike in any size."""
    small, large = (
        occlusion.by_similarity(occlusion._to_image(discs(side, 1)[0])) for side in (112, 448)
    )
    agreement = adjusted_rand_score(small.ravel(), large[2::4, 2::4].ravel())
    assert agreement > 0.8


@pytest.mark.parametrize("distance", [4, 8])
def test_groups_are_few_and_their_regions_far_apart(distance):
    labels = occlusion.by_distance(occlusion._to_image(discs(224, 1)[0]))
    n_regions = labels.max() + 1
    groups = occlusion._groups_apart(labels, distance)
    assert groups.max() + 1 < n_regions / 3
    masks = labels == np.arange(n_regions)[:, None, None]
    wide = ndimage.maximum_filter(masks, (1, 2 * distance + 1, 2 * distance + 1))
    for group in np.unique(groups):
        assert wide[groups == group].sum(axis=0)[masks[groups == group].any(axis=0)].max() == 1


@pytest.mark.parametrize("segment", [occlusion.by_similarity, occlusion.by_distance])
@pytest.mark.parametrize("grain", [0, 0.03])
def test_grain_does_not_join_all_regions(segment, grain):
    image = occlusion._to_image(discs(224, 1)[0])
    image = image + np.random.default_rng(0).normal(0, grain, image.shape)
    labels = segment(image.clip(0, 1))
    assert labels.max() + 1 > 7
    assert np.bincount(labels.ravel()).max() < 0.6 * labels.size


def test_grey_images_are_divided_as_their_copies_in_colour():
    grey = occlusion._to_image(discs(224, 1, n_channels=1)[0])
    labels, of_copies = (occlusion.by_distance(i) for i in (grey, grey.repeat(3, axis=2)))
    assert adjusted_rand_score(labels.ravel(), of_copies.ravel()) > 0.6
