"""Are maps faithful: does the network change its mind when what they point at goes?

Everything here is about one class an image, the one that was predicted, and about maps as they
are displayed (`cam.display`): float32 (N, M, S, S) in [0, 1], M methods. A network is whatever
gives probabilities (n, C) for input (n, 3, S, S); it runs `AT_ONCE` changed images at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pokecam.judging.imputation import impute, noise

AT_ONCE = 16
STEPS = 14  # parts of the image that deletion and insertion change one after another
BLUR_PX, BLUR_SIGMA_PX = 11, 5.0  # of what insertion begins with
PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)  # of the pixels that ROAD removes

Network = Callable[[Tensor], Tensor]
Floats = NDArray[np.floating]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Curves:
    """Probability of the class as pixels go or come: (N, M, steps + 1), the first before any."""

    deletion: Floats
    insertion: Floats


@dataclass(frozen=True)
class Removal:
    """What is left of the class without some shares of the pixels, filled in from around them:
    (N, M, P) each.

    most, least: its probability without the most relevant pixels, and without the least relevant.
    flipped: whether another class is predicted without the most relevant.
    """

    most: Floats
    least: Floats
    flipped: NDArray[np.bool_]

    @property
    def combined(self) -> Floats:
        """ROAD's combined score (N, M): the mean over shares of (least − most) / 2."""
        return ((self.least - self.most) / 2).mean(axis=-1)


def order(shown: Floats) -> Places:
    """The pixels of every map from the most salient to the least; of equals the first in reading
    order comes first. (…, S, S) → int (…, S²), places in the flattened image.

    shown: in [0, 1]; compared as float32.
    """
    flat = shown.reshape(*shown.shape[:-2], -1).astype(np.float32)
    # The bits of floats from 0 up are in the order of their values. With its place behind it every
    # key is unique, so that a sort of numbers will do: a fifteenth to three fifths of the time of a
    # stable argsort (NumPy 2.4, AVX-512).
    keys = (~(flat + np.float32(0)).view(np.uint32)).astype(np.uint64) << 32  # + 0: no -0.0
    keys |= np.arange(flat.shape[-1], dtype=np.uint64)
    keys.sort(axis=-1)
    return (keys & 0xFFFFFFFF).astype(np.intp)


def blur(x: Tensor, size_px: int = BLUR_PX, sigma_px: float = BLUR_SIGMA_PX) -> Tensor:
    """x (N, 3, S, S) under a Gaussian, cut to a square of `size_px`, the border repeated."""
    radius = size_px // 2
    distance = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-(distance**2) / (2 * sigma_px**2))
    weights = (weights / weights.sum()).repeat(x.shape[1], 1, 1, 1)  # (3, 1, 1, size_px)
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    across = F.conv2d(padded, weights, groups=x.shape[1])
    return F.conv2d(across, weights.mT, groups=x.shape[1])


def deletion_insertion(
    network: Network,
    x: Tensor,
    target: Tensor,
    pixels: Places,
    steps: int = STEPS,
    start: Callable[[Tensor], Tensor] = blur,
) -> Curves:
    """Probability of the class while the most salient pixels are replaced by 0 (the mean colour),
    and while they are revealed over another image, by default a blurred one.

    After step i the first i / steps of all pixels have changed. Petsiuk et al. 2018 (RISE),
    arXiv 1806.07421, §4.2; there steps are of 224 pixels each.

    x: (N, 3, S, S), network input. target: int (N,), the class. pixels: (N, M, S²), as `order`
    gives them. start: makes of x the images (N, 3, S, S) that insertion begins with.
    """
    N, M, P = pixels.shape
    ends = [P * i // steps for i in range(steps + 1)]
    whole, begun = _flat(x), _flat(start(x))
    nothing = torch.zeros_like(whole[0])
    curves = np.empty((2, N, M, steps + 1))
    for n in range(N):
        probe = _Probe(network, x)
        for image in (nothing, whole[n], begun[n]):
            probe.add(image)
        at = torch.from_numpy(pixels[n]).to(x.device)
        for before, after in ((whole[n], nothing), (begun[n], whole[n])):
            for m in range(M):
                now = before.clone()
                for start, end in pairwise(ends[:-1]):
                    changed = at[m, start:end]
                    now.index_copy_(0, changed, after.index_select(0, changed))
                    probe.add(now)
        empty, full, dim, *given = probe.probabilities()[:, int(target[n])]
        curves[:, n, :, 0] = [[full], [dim]]
        curves[:, n, :, -1] = [[empty], [full]]
        curves[:, n, :, 1:-1] = np.reshape(given, (2, M, steps - 1))
    return Curves(*curves)


def area(curves: Floats) -> Floats:
    """Area under curves (…, steps + 1) over 0 … 1, by trapezoids: (…)."""
    return (curves.sum(axis=-1) - (curves[..., 0] + curves[..., -1]) / 2) / (curves.shape[-1] - 1)


def seen_through(
    network: Network, x: Tensor, target: Tensor, shown: Floats
) -> tuple[Floats, Floats]:
    """Average drop and increase in confidence, of every image: (N, M) each.

        drop = max(0, Y − O) / Y,  increase = 1 if O > Y, else 0

    with Y the probability of the class and O that of the input times the map. Their means over
    images are the paper's measures. Chattopadhay et al. 2018, arXiv 1710.11063, §4.1.

    x, target: as in `deletion_insertion`. shown: (N, M, S, S).
    """
    N, M = shown.shape[:2]
    drops, rises = np.empty((N, M)), np.empty((N, M))
    images = _flat(x)
    for n in range(N):
        probe = _Probe(network, x)
        probe.add(images[n])
        for mask in torch.from_numpy(shown[n]).to(x).flatten(1):  # M of (S²,)
            probe.add(images[n] * mask[:, None])
        whole, *masked = probe.probabilities()[:, int(target[n])]
        drops[n] = np.maximum(0, whole - masked) / whole
        rises[n] = np.array(masked) > whole
    return drops, rises


def road(
    network: Network,
    x: Tensor,
    target: Tensor,
    pixels: Places,
    seeds: Sequence[int],
    percentiles: tuple[int, ...] = PERCENTILES,
) -> Removal:
    """Remove and debias: the class after the most relevant pixels have been filled in from their
    surroundings (`impute`), and after the least relevant. Rong et al. 2022, arXiv 2202.00449; the
    combination as in pytorch-grad-cam.

    x, target, pixels: as in `deletion_insertion`. seeds: N, each of the noise of one image, which
    is the same for all its methods and percentiles. percentiles: P shares of the pixels to remove,
    in %.
    """
    N, M, P = pixels.shape
    shape = (N, M, len(percentiles))
    removal = Removal(np.empty(shape), np.empty(shape), np.empty(shape, bool))
    ends = [P * share // 100 for share in percentiles]
    cases = [part for end in ends for part in (slice(end), slice(P - end, P))]
    for n in range(N):
        added = noise(x[n], seeds[n])
        at = torch.from_numpy(pixels[n]).to(x.device)
        gone = [at[m, part] for m in range(M) for part in cases]
        parts = []
        for start in range(0, len(gone), AT_ONCE):
            some = gone[start : start + AT_ONCE]
            removed = torch.zeros(len(some), P, dtype=torch.bool, device=x.device)
            for i, places in enumerate(some):
                removed[i, places] = True
            filled = impute(
                x[n].expand(len(some), -1, -1, -1), removed.view(-1, *x.shape[2:]), added
            )
            parts.append(network(filled.contiguous(memory_format=torch.channels_last)).cpu())
        given = torch.cat(parts).double().numpy().reshape(M, len(ends), 2, -1)  # most, least; C
        of_class = given[..., int(target[n])]
        removal.most[n], removal.least[n] = of_class[..., 0], of_class[..., 1]
        removal.flipped[n] = given[..., 0, :].argmax(axis=-1) != int(target[n])
    return removal


def flip_share(flipped: NDArray[np.bool_], percentiles: tuple[int, ...] = PERCENTILES) -> Floats:
    """The smallest share of the most relevant pixels without which another class is predicted,
    (…): of `Removal.flipped` (…, P), 1 where the prediction stays at all percentiles."""
    shares = np.array([*percentiles, 100]) / 100
    ever = np.concatenate([flipped, np.ones((*flipped.shape[:-1], 1), bool)], axis=-1)
    return shares[ever.argmax(axis=-1)]


def _flat(x: Tensor) -> Tensor:
    """(N, C, S, S) → (N, S², C): a pixel's channels beside one another, as networks are given
    them, so that changing some pixels touches no others."""
    return x.flatten(2).mT.contiguous()


class _Probe:
    """Collects changed images like x (N, C, S, S), and runs the network on `AT_ONCE` of them."""

    def __init__(self, network: Network, x: Tensor) -> None:
        self._network = network
        self._waiting = x.new_empty(AT_ONCE, *x.shape[2:], x.shape[1])  # (n, S, S, C)
        self._count = 0
        self._given: list[Tensor] = []

    def add(self, image: Tensor) -> None:
        """image: (S², C), copied."""
        self._waiting[self._count] = image.view(self._waiting.shape[1:])
        self._count += 1
        if self._count == AT_ONCE:
            self._run()

    def probabilities(self) -> Floats:
        """Of all images so far, in their order: (n, classes)."""
        if self._count:
            self._run()
        return torch.cat(self._given).double().numpy()

    def _run(self) -> None:
        batch = self._waiting[: self._count].permute(0, 3, 1, 2)  # channels_last, uncopied
        self._given.append(self._network(batch).cpu())
        self._count = 0
