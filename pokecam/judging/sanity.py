"""Do maps depend on what the network has learnt?

The weights of the network are re-initialised, from the head down. This is the cascading parameter
randomisation of Adebayo et al. 2018 (arXiv 1810.03292). The map of a method that explains the
network changes with the weights. The map of a method that does not depend on them stays::

    for block, network in randomised_networks(classifier, seed=1):
        heatmaps = display(compute_maps(capture(network, x), "grad_cam").numpy(), size_px)
        rank_correlation(original, heatmaps), ssim(original, heatmaps)
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
from torch import Tensor, nn

from pokecam.cam.capture import capture
from pokecam.cam.display import display
from pokecam.cam.maps import compute_maps
from pokecam.cam.methods import METHODS
from pokecam.cam.stored_maps import StoredMaps
from pokecam.common.progress import counting
from pokecam.judging.case import Case, Indices
from pokecam.judging.ranks import rank_correlation
from pokecam.networks import layers
from pokecam.networks.classifier import Classifier, in_batches

HEAD = "head"
SHUFFLED = "shuffled labels"
COLUMNS = ["method", "block", "rank_correlation", "ssim", "n", "constant", "unchanged"]
IMAGES = 20  # the largest number of images
SLOW_IMAGES = 4  # … for methods that run a network many times for an image
SIZE_PX = 112  # side at which heatmaps are compared

# The window and the constants of SSIM, Wang et al. 2004, §III-C.
WINDOW_SIGMA_PX = 1.5
WINDOW_RADIUS_PX = 5  # 11 × 11
K1, K2 = 0.01, 0.03

# A method with a mean correlation above this does not depend on the network. After all shipped
# weights were re-initialised, methods that read the network had 0.2 to 0.5 (coarse maps of objects
# in the middle are always a little alike), and methods that do not read it had 1.
UNCHANGED = 0.9

Floats = NDArray[np.floating]
NamedModules = list[tuple[str, nn.Module]]


def randomised_networks(
    classifier: Classifier, seed: int, *, steps: int = 5
) -> Iterator[tuple[str, Classifier]]:
    """Re-initialise a network step by step, from its head down.

    Blocks are the children of the body by torchvision's names, in the order of definition, which is
    the order in which they run. Where there are fewer blocks than steps, each plain `Sequential` is
    replaced by its children, level by level. A block starts with a module that holds a matrix or a
    kernel, and reaches to the next such module. So normalisation belongs to the convolution before
    it, and the tokens and positions that a transformer holds itself belong to its first block. A
    network with few blocks has fewer steps. In a network with many, each step takes the same number
    of blocks; if they do not divide evenly, the steps next to the image take one more.

    Re-initialised weights come from the `reset_parameters` of the module, which also sets the
    running statistics of BatchNorm to mean 0 and variance 1. Other parameters (layer scales, class
    tokens, positions, tables of biases, the input projection of attention) are drawn from a normal
    distribution with mean 0 and the root mean square of the tensor. So they stay as large as they
    were, and zeros stay zero. The random weights of a module depend on `seed` and the name of the
    module alone. They are the same at every step, with any number of steps, and on every device.

    Every re-initialised layer makes activations smaller, and BatchNorm with statistics of 0 and 1
    does not compensate for that in evaluation mode. They shrink to 1e-7 in mobilenet_v3_small and
    to 1e-11 in efficientnet_b0. float32 can hold such values and float16 cannot, so capture the
    copies in float32. If a map is constant nevertheless, `rank_correlation` is NaN.

    Args:
        classifier: the network. Neither it nor the state of torch's random numbers changes.
        seed: any integer.
        steps: at least 2, the head alone and the whole network.

    Yields:
        Block, and a copy of the classifier that is re-initialised from its head down to that block.
        The first block is the head, the last copy is re-initialised as a whole. Copies are on the
        device of the classifier, in its modes, and independent of it and of each other. They have
        its body and head; cut them with `layers.cut_at` for the maps of another layer.
    """
    device = next(classifier.parameters()).device
    network = _copy(classifier, torch.device("cpu"))
    head = list(network.head.named_modules(prefix=HEAD))
    for block, modules in [(HEAD, head), *reversed(_group_modules(network.body, steps - 1))]:
        _reinitialise(modules, seed)
        yield block, _copy(network, device)


def ssim(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Compute the structural similarity of each pair of heatmaps: the mean over pixels of

        (2 μ_a μ_b + C1) (2 σ_ab + C2) / ((μ_a² + μ_b² + C1) (σ_a² + σ_b² + C2)),

    with C1 = K1² and C2 = K2² for values in [0, 1]. Means, variances and covariance are those under
    a Gaussian window of 11 × 11 px with σ = 1.5 px (Wang et al. 2004, IEEE TIP 13, eq. 13–17). Only
    windows inside the map count, so that its border of 5 px is left out. A map with a side of less
    than 11 px counts as a whole, mirrored at its border.

    Args:
        a: (…, S, S) in [0, 1].
        b: (…, S, S) in [0, 1].

    Returns:
        (…), 1 for equal maps and less for all others.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    mean_a, mean_b = _window_means(a), _window_means(b)
    covariance = _window_means(a * b) - mean_a * mean_b
    variances = _window_means(a * a) - mean_a**2 + _window_means(b * b) - mean_b**2
    c1, c2 = K1**2, K2**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    return similarity.mean(axis=(-2, -1))


def ignores_network(correlations: Floats) -> bool:
    """Return whether the maps of a method do not depend on the network.

    That is the case if the mean of the absolute correlations is above `UNCHANGED`. Absolute values
    are taken because a map with all signs reversed still shows the same image.

    Args:
        correlations: rank correlations between the maps of the trained network and those after all
            weights are re-initialised. NaN (an empty map) is left out; without any number the
            result is False.
    """
    magnitudes = np.abs(correlations)[~np.isnan(correlations)]
    return magnitudes.size > 0 and bool(magnitudes.mean() > UNCHANGED)


def compare_randomised(case: Case, indices: Indices, seed: int) -> pd.DataFrame:
    """Compare the maps of a network with those after re-initialisation, block by block.

    Args:
        case: what is judged.
        indices: (n,) int, images of the case. Slow methods take up to `SLOW_IMAGES` of them.
        seed: of the random weights.

    Returns:
        method, block, rank_correlation, ssim, n, constant, unchanged: means over images, a row
        for every method and every block down to which weights are re-initialised
        (`randomised_networks`). n is the number of images with a rank correlation. constant is the
        number of images without, because one of the two maps is empty. unchanged says whether
        the method ignores the network (`ignores_network`). It is decided at the last block, where
        the whole network is re-initialised, and is the same in every row of a method.
    """
    steps = []
    with counting("re-initialised networks", None, "steps") as count:
        for block, network in randomised_networks(case.classifier, seed):
            steps.append(_compare(case, indices, network).assign(block=block))
            count(1)
    last = steps[-1].set_index("method").unchanged
    table = pd.concat(steps)
    return table.assign(unchanged=table.method.map(last))[COLUMNS]


def compare_shuffled_labels(case: Case, indices: Indices, network: Classifier) -> pd.DataFrame:
    """Compare the maps of a network with those of one that was trained on shuffled labels.

    Args:
        case: what is judged.
        indices: (n,) int, images of the case. Slow methods take up to `SLOW_IMAGES` of them.
        network: the network of `shuffled_labels.train`.

    Returns:
        A table like that of `compare_randomised`, a row for every method; the block is `SHUFFLED`.
    """
    return _compare(case, indices, network).assign(block=SHUFFLED)[COLUMNS]


def _compare(case: Case, indices: Indices, other: Classifier) -> pd.DataFrame:
    """Return method, rank_correlation, ssim, n, constant, unchanged: a row for every method."""
    methods = [name for name in case.methods if name in case.maps]
    slow = [name for name in methods if METHODS[name].slow]
    fast = [name for name in methods if not METHODS[name].slow]
    slow_indices = indices[:: max(1, math.ceil(len(indices) / SLOW_IMAGES))]
    other_maps = _maps(case, indices, other, fast) | _maps(case, slow_indices, other, slow)
    rows = []
    for name in methods:
        selected = slow_indices if name in slow else indices
        heatmaps = display(case.maps[name].of(selected, case.predicted[selected]), SIZE_PX)
        other_heatmaps = display(other_maps[name], SIZE_PX)
        correlations = rank_correlation(heatmaps, other_heatmaps)
        n = int((~np.isnan(correlations)).sum())
        mean = np.nanmean(correlations) if n else np.nan
        similarity = ssim(heatmaps, other_heatmaps).mean()
        rows.append((name, mean, similarity, n, len(selected) - n, ignores_network(correlations)))
    columns = ["method", "rank_correlation", "ssim", "n", "constant", "unchanged"]
    return pd.DataFrame(rows, columns=columns)


def _maps(case: Case, indices: Indices, other: Classifier, methods: list[str]) -> dict[str, Floats]:
    """Return the raw maps (n, h, w) of the predicted classes by another network, by method."""
    if not methods:
        return {}
    network, classes = layers.cut_at(other, case.layer), case.predicted[indices]

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
    with torch.inference_mode(False):  # otherwise gradients of the copy could not be computed
        return copy.deepcopy(classifier).to(device)


def _group_modules(body: nn.Module, n_groups: int) -> list[tuple[str, NamedModules]]:
    """Return the modules of the body in groups of about equally many blocks, in order.

    Each group has the name of its first block. There are fewer groups if there are fewer blocks.
    """
    blocks = _blocks(body, n_groups)
    groups = np.array_split(blocks, min(n_groups, len(blocks)))
    firsts = [str(group[0]) for group in groups]
    modules = list(body.named_modules())  # a container comes before its children
    names = [name for name, _ in modules]
    bounds = [0, *(names.index(first) for first in firsts[1:]), len(modules)]
    spans = (modules[start:end] for start, end in pairwise(bounds))
    return list(zip(firsts, spans, strict=True))


def _blocks(body: nn.Module, at_least: int) -> list[str]:
    """Return the names of the modules that blocks start with."""
    level = list(body.named_children())
    while True:
        blocks = [name for name, module in level if any(w.ndim > 1 for w in module.parameters())]
        finer = [child for name, module in level for child in _unpack_sequential(name, module)]
        if len(blocks) >= at_least or finer == level:
            return blocks
        level = finer


def _unpack_sequential(name: str, module: nn.Module) -> NamedModules:
    """Return the children of a plain `Sequential`; other modules, such as its subclasses, which are
    torchvision's blocks, are returned as they are."""
    if type(module) is not nn.Sequential:
        return [(name, module)]
    return [(f"{name}.{child_name}", child) for child_name, child in module.named_children()]


def _reinitialise(modules: NamedModules, seed: int) -> None:
    """Re-initialise modules on the CPU, without their children."""
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        for name, module in modules:
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            # torch.manual_seed would seed every device, and only the state of the CPU is restored.
            torch.default_generator.manual_seed(int.from_bytes(digest[:8], "big"))
            if reset := getattr(module, "reset_parameters", None):
                reset()
                continue
            for weights in module.parameters(recurse=False):
                weights.normal_(std=weights.square().mean().sqrt().item())


def _window_means(maps: Floats) -> Floats:
    """Return the means (…, h − 10, w − 10) under the window, for all windows inside the map."""
    means = gaussian_filter(
        maps, WINDOW_SIGMA_PX, radius=WINDOW_RADIUS_PX, axes=(-2, -1), mode="reflect"
    )
    if min(maps.shape[-2:]) <= 2 * WINDOW_RADIUS_PX:
        return means
    interior = slice(WINDOW_RADIUS_PX, -WINDOW_RADIUS_PX)
    return means[..., interior, interior]
