"""Do maps depend on what the network has learnt? Its weights are made fresh, from the head down.

The cascading parameter randomisation of Adebayo et al. 2018 (arXiv 1810.03292). A map that
explains the network changes with its weights; one that does not is an image of the image::

    for block, network in randomised(classifier, seed=1):
        shown = display(maps(capture(network, x), "grad_cam"), size_px)
        rank_correlation(original, shown), ssim(original, shown)
"""

import copy
import hashlib
import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata
from torch import Tensor, nn

from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.cam.stored_maps import StoredMaps
from pokecam.common.progress import counting
from pokecam.judging.case import Case, Indices
from pokecam.networks import layers
from pokecam.networks.classifier import Classifier, in_batches

HEAD = "head"
SHUFFLED = "shuffled labels"
COLUMNS = ["method", "block", "rank_correlation", "ssim", "n", "constant", "unchanged"]
IMAGES = 20  # at most; the network is made anew for all of them
SLOW_IMAGES = 4  # … for methods that run every network once for each of its channels
SIZE_PX = 112  # side at which maps are compared

# Of SSIM: Wang et al. 2004, §III-C.
WINDOW_SIGMA_PX = 1.5
WINDOW_RADIUS_PX = 5  # 11 × 11
K1, K2 = 0.01, 0.03

# With the shipped weights, made fresh as a whole, methods that read the network stood between 0.2
# and 0.5 (maps of few cells, of objects in the middle, are never quite unlike), others at 1.
UNCHANGED = 0.9

Floats = NDArray[np.floating]
Modules = list[tuple[str, nn.Module]]


def randomised(
    classifier: Classifier, seed: int, *, steps: int = 5
) -> Iterator[tuple[str, Classifier]]:
    """Yield (block, a copy of the classifier with fresh weights from its head down to that block),
    step by step: `head` first, the whole network last.

    Blocks are the body's children by torchvision's names, in the order of definition, which is
    that of running; where the steps need more of them, a plain `Sequential` is taken apart, level
    by level. A block reaches as far as to the next, and begins with a module that holds a matrix
    or a kernel: normalisation belongs to the convolution before it, tokens and positions that a
    transformer holds itself to its first block. Of one network with few blocks there are fewer
    steps; with many, a step takes equally many blocks, those next to the image one more where
    they do not divide.

    Fresh weights are those of a module's own `reset_parameters`, which sets the running statistics
    of BatchNorm to mean 0 and variance 1. Parameters of modules without it (layer scales, class
    tokens, positions, tables of biases, attention's input projection) are drawn from a normal
    distribution about 0 with the tensor's own root mean square, so that they stay as large as they
    were, and zeros stay zeros. Chance follows from `seed` and the module's name alone: a module's
    fresh weights are the same at every step, with any number of steps, on every device.

    seed: any integer.
    steps: at least 2, the head alone and everything.

    The copies are on the classifier's device, in its modes, independent of it and of one another;
    neither it nor any state of torch's random numbers changes. Body and head are those given, so a
    map of another layer is had by cutting each copy (`layers.at`).

    Every fresh layer makes activations smaller, and in evaluation mode BatchNorm with statistics of
    0 and 1 does not make up for it: they end at 1e-7 in mobilenet_v3_small, 1e-11 in
    efficientnet_b0. float32 holds them, float16 does not: capture the copies in float32. A map that
    is constant nevertheless says nothing, and `rank_correlation` gives NaN.
    """
    device = next(classifier.parameters()).device
    network = _copy(classifier, torch.device("cpu"))
    head = list(network.head.named_modules(prefix=HEAD))
    for block, modules in [(HEAD, head), *reversed(_parts(network.body, steps - 1))]:
        _refresh(modules, seed)
        yield block, _copy(network, device)


def rank_correlation(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Spearman's rank correlation over the pixels of each pair of maps, equal pixels sharing the
    mean of their ranks.

    a, b: (…, h, w). Returns (…): 1 for the same order of pixels, −1 for the opposite, NaN where
    either map is constant or holds NaN.
    """
    x, y = _centred_ranks(a), _centred_ranks(b)
    spread = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return np.divide(
        (x * y).sum(axis=-1), spread, out=np.full_like(spread, np.nan), where=spread > 0
    )


def ssim(a: Floats, b: Floats, data_range: float = 1.0) -> NDArray[np.float64]:
    """Structural similarity of each pair of maps: the mean over pixels of

        (2 μ_a μ_b + C1) (2 σ_ab + C2) / ((μ_a² + μ_b² + C1) (σ_a² + σ_b² + C2)),

    C1 = (K1 L)² and C2 = (K2 L)², with means, variances and covariance under a Gaussian window of
    11 × 11 px, σ 1.5 px (Wang et al. 2004, IEEE TIP 13, eq. 13–17). Only windows that lie within
    the map count, so its border of 5 px is left out; a map with a side of less than 11 px counts
    whole, mirrored at its border.

    a, b: (…, S, S). data_range: L, the largest value less the smallest that a map could have.
    Returns (…), at most 1, which only equal maps reach.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    mean_a, mean_b = _windowed(a), _windowed(b)
    both = _windowed(a * b) - mean_a * mean_b
    variances = _windowed(a * a) - mean_a**2 + _windowed(b * b) - mean_b**2
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    similar = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    similar /= (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    return similar.mean(axis=(-2, -1))


def unchanged(correlations: Floats) -> bool:
    """Tell whether a method does not depend on the network.

    correlations: rank correlations of its maps of the trained network with those of the network
        made fresh as a whole; NaN, a map that says nothing, is left out. Without any that is a
        number, the answer is no.

    True if they are more than `UNCHANGED` in the mean of their absolute values: a map turned over,
    bright for dark, still shows the same image.
    """
    known = np.abs(correlations)[~np.isnan(correlations)]
    return known.size > 0 and bool(known.mean() > UNCHANGED)


def after_randomisation(case: Case, indices: Indices, seed: int) -> pd.DataFrame:
    """Compare the maps of a network with those after re-initialisation, block by block.

    Args:
        case: what is judged.
        indices: (n,) int, images of the case. Slow methods take up to `SLOW_IMAGES` of them.
        seed: of the random weights.

    Returns:
        method, block, rank_correlation, ssim, n, constant, unchanged: means over images, a row
        for every method and every block down to which weights are re-initialised (`randomised`).
        n is how many images have a rank correlation; constant is how many have none, because one
        of the two networks gives an empty map. unchanged says whether a method passes for one
        that does not depend on the network at all. It is decided at the last block, the whole
        network, and is the same in every row of a method.
    """
    steps = []
    with counting("re-initialised networks", None, "steps") as count:
        for block, network in randomised(case.classifier, seed):
            steps.append(_compare(case, indices, network).assign(block=block))
            count(1)
    last = steps[-1].set_index("method").unchanged
    table = pd.concat(steps)
    return table.assign(unchanged=table.method.map(last))[COLUMNS]


def after_shuffled_labels(case: Case, indices: Indices, shuffled: Classifier) -> pd.DataFrame:
    """Compare maps as `after_randomisation` does, with those of a network that was trained on
    shuffled labels (`shuffled_labels.train`); the block is `SHUFFLED`."""
    return _compare(case, indices, shuffled).assign(block=SHUFFLED)[COLUMNS]


def _compare(case: Case, indices: Indices, other: Classifier) -> pd.DataFrame:
    """Return method, rank_correlation, ssim, n, constant, unchanged: a row for every method."""
    methods = [name for name in case.methods if name in case.maps]
    slow = [name for name in methods if METHODS[name].slow]
    fast = [name for name in methods if not METHODS[name].slow]
    few = indices[:: max(1, math.ceil(len(indices) / SLOW_IMAGES))]
    other_maps = _maps(case, indices, other, fast) | _maps(case, few, other, slow)
    rows = []
    for name in methods:
        selected = few if name in slow else indices
        before = display(case.maps[name].of(selected, case.predicted[selected]), SIZE_PX)
        after = display(other_maps[name], SIZE_PX)
        correlations = rank_correlation(before, after)
        n = int((~np.isnan(correlations)).sum())
        mean = np.nanmean(correlations) if n else np.nan
        similarity = ssim(before, after).mean()
        rows.append((name, mean, similarity, n, len(selected) - n, unchanged(correlations)))
    columns = ["method", "rank_correlation", "ssim", "n", "constant", "unchanged"]
    return pd.DataFrame(rows, columns=columns)


def _maps(case: Case, indices: Indices, other: Classifier, methods: list[str]) -> dict[str, Floats]:
    """Return the raw maps (n, h, w) of the predicted classes by another network, by method."""
    if not methods:
        return {}
    network, classes = layers.at(other, case.layer), case.predicted[indices]

    def map_batch(x: Tensor, batch: slice) -> dict[str, np.ndarray]:
        captured = capture(network, x)
        images = np.arange(len(x))
        return {
            name: StoredMaps(compute_maps(captured, name, case.lookalikes).cpu().numpy()).of(
                images, classes[batch]
            )
            for name in methods
        }

    batches = in_batches(network, case.packed.pixels, case.rows[indices], map_batch)
    maps_of_batches = [maps for _, maps in batches]
    return {name: np.concatenate([maps[name] for maps in maps_of_batches]) for name in methods}


def _copy(classifier: Classifier, device: torch.device) -> Classifier:
    with torch.inference_mode(False):  # else a copy could not be differentiated later
        return copy.deepcopy(classifier).to(device)


def _parts(body: nn.Module, count: int) -> list[tuple[str, Modules]]:
    """The modules of the body, by name and in order, in `count` parts of about equally many
    blocks, each with the name of its first block; fewer parts if there are fewer blocks."""
    blocks = _blocks(body, count)
    firsts = [str(part[0]) for part in np.array_split(blocks, min(count, len(blocks)))]
    modules = list(body.named_modules())  # a container comes before what is in it
    names = [name for name, _ in modules]
    bounds = [0, *(names.index(first) for first in firsts[1:]), len(modules)]
    spans = (modules[start:end] for start, end in pairwise(bounds))
    return list(zip(firsts, spans, strict=True))


def _blocks(body: nn.Module, at_least: int) -> list[str]:
    """Names of the modules that blocks begin with."""
    level = list(body.named_children())
    while True:
        blocks = [name for name, module in level if any(w.ndim > 1 for w in module.parameters())]
        finer = [inner for name, module in level for inner in _taken_apart(name, module)]
        if len(blocks) >= at_least or finer == level:
            return blocks
        level = finer


def _taken_apart(name: str, module: nn.Module) -> Modules:
    """What a plain `Sequential` is made of; its subclasses, torchvision's blocks, stay whole."""
    if type(module) is not nn.Sequential:
        return [(name, module)]
    return [(f"{name}.{child_name}", child) for child_name, child in module.named_children()]


def _refresh(modules: Modules, seed: int) -> None:
    """Give modules on the CPU, without their children, fresh weights."""
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        for name, module in modules:
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            # torch.manual_seed would seed every device, and only the CPU's state is kept here.
            torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big"))
            if reset := getattr(module, "reset_parameters", None):
                reset()
                continue
            for weights in module.parameters(recurse=False):
                weights.normal_(std=weights.square().mean().sqrt().item())


def _centred_ranks(maps: Floats) -> NDArray[np.float64]:
    """Ranks of the pixels (…, h · w), less their mean, which is the same for every map."""
    pixels = maps.reshape(*maps.shape[:-2], -1)
    return rankdata(pixels, axis=-1) - (pixels.shape[-1] + 1) / 2


def _windowed(maps: Floats) -> Floats:
    """Means (…, h − 10, w − 10) under the window, around every pixel that has a whole one."""
    means = gaussian_filter(
        maps, WINDOW_SIGMA_PX, radius=WINDOW_RADIUS_PX, axes=(-2, -1), mode="reflect"
    )
    if min(maps.shape[-2:]) <= 2 * WINDOW_RADIUS_PX:
        return means
    inside = slice(WINDOW_RADIUS_PX, -WINDOW_RADIUS_PX)
    return means[..., inside, inside]
