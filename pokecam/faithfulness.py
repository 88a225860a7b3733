"""Are maps faithful: does the network change its mind when what they point at goes?

Everything here is about one class a picture, the one that was predicted, and about maps as they
are displayed (`cam.display`): float32 (N, M, S, S) in [0, 1], M methods. A network is whatever
gives probabilities (n, C) for input (n, 3, S, S); it runs `AT_ONCE` changed pictures at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pokecam.imputation import impute, noise

AT_ONCE = 16
STEPS = 14  # parts of the picture that deletion and insertion change one after another
BLUR_PX, BLUR_SIGMA_PX = 11, 5.0  # of what insertion begins with
PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)  # of the pixels that ROAD removes

Network = Callable[[Tensor], Tensor]
Floats = NDArray[np.floating]


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


def ranks(shown: Floats) -> NDArray[np.int32]:
    """The place of every pixel from the most salient, 0, to the least; of equals the first in
    reading order comes first. (…, S, S) → int32 (…, S, S)."""
    flat = shown.reshape(*shown.shape[:-2], -1)
    order = np.argsort(-flat, axis=-1, kind="stable")
    places = np.empty(flat.shape, np.int32)
    np.put_along_axis(places, order, np.arange(flat.shape[-1], dtype=np.int32), axis=-1)
    return places.reshape(shown.shape)


def deletion_insertion(
    network: Network, x: Tensor, target: Tensor, places: NDArray[np.int32], steps: int = STEPS
) -> Curves:
    """Probability of the class while the most salient pixels are replaced by 0 (the mean colour),
    and while they are revealed over a blurred picture.

    After step i the first i / steps of all pixels have changed. Petsiuk et al. 2018 (RISE),
    arXiv 1806.07421, §4.2; there steps are of 224 pixels each.

    x: (N, 3, S, S), network input. target: int (N,), the class. places: (N, M, S, S), as `ranks`
    gives them.
    """
    N, M = places.shape[:2]
    ends = [places[0, 0].size * i // steps for i in range(steps + 1)]
    nothing, blurred = torch.zeros_like(x[:1]), blur(x)
    curves = np.empty((2, N, M, steps + 1))
    empty = network(nothing)[0]  # the same picture for all
    for n in range(N):
        of_class = int(target[n])
        whole, dim = network(torch.stack([x[n], blurred[n]]))[:, of_class].tolist()
        curves[:, n, :, 0] = [[whole], [dim]]
        curves[:, n, :, -1] = [[float(empty[of_class])], [whole]]
        place = torch.from_numpy(places[n]).to(x.device)[:, None]  # (M, 1, S, S)
        changed = (
            torch.where(place[m] < ends[i], there, instead)
            for there, instead in ((nothing[0], x[n]), (x[n], blurred[n]))
            for m in range(M)
            for i in range(1, steps)
        )
        given = _probabilities(network, changed)[:, of_class]
        curves[:, n, :, 1:-1] = given.reshape(2, M, steps - 1)
    return Curves(*curves)


def area(curves: Floats) -> Floats:
    """Area under curves (…, steps + 1) over 0 … 1, by trapezoids: (…)."""
    return (curves.sum(axis=-1) - (curves[..., 0] + curves[..., -1]) / 2) / (curves.shape[-1] - 1)


def seen_through(
    network: Network, x: Tensor, target: Tensor, shown: Floats
) -> tuple[Floats, Floats]:
    """Average drop and increase in confidence, of every picture: (N, M) each.

        drop = max(0, Y − O) / Y,  increase = 1 if O > Y, else 0

    with Y the probability of the class and O that of the input times the map. Their means over
    pictures are the paper's measures. Chattopadhay et al. 2018, arXiv 1710.11063, §4.1.

    x, target: as in `deletion_insertion`. shown: (N, M, S, S).
    """
    N, M = shown.shape[:2]
    drops, rises = np.empty((N, M)), np.empty((N, M))
    for n in range(N):
        masks = torch.from_numpy(shown[n]).to(x)[:, None]  # (M, 1, S, S)
        pictures = (x[n] * mask for mask in [torch.ones_like(masks[0]), *masks])
        whole, *masked = _probabilities(network, pictures)[:, int(target[n])]
        drops[n] = np.maximum(0, whole - masked) / whole
        rises[n] = np.array(masked) > whole
    return drops, rises


def road(
    network: Network,
    x: Tensor,
    target: Tensor,
    places: NDArray[np.int32],
    seeds: Sequence[int],
    percentiles: tuple[int, ...] = PERCENTILES,
) -> Removal:
    """Remove and debias: the class after the most relevant pixels have been filled in from their
    surroundings (`impute`), and after the least relevant. Rong et al. 2022, arXiv 2202.00449; the
    combination as in pytorch-grad-cam.

    x, target, places: as in `deletion_insertion`. seeds: N, each of the noise of one picture, which
    is the same for all its methods and percentiles. percentiles: P shares of the pixels to remove,
    in %.
    """
    N, M, S = places.shape[:3]
    shape = (N, M, len(percentiles))
    removal = Removal(np.empty(shape), np.empty(shape), np.empty(shape, bool))
    ends = [S * S * share // 100 for share in percentiles]
    for n in range(N):
        added = noise(x[n], seeds[n])
        place = torch.from_numpy(places[n]).to(x.device)  # (M, S, S)
        cases = [(m, end, most) for m in range(M) for end in ends for most in (True, False)]
        filled = (
            picture
            for start in range(0, len(cases), AT_ONCE)
            for removed in [
                torch.stack(
                    [
                        place[m] < end if most else place[m] >= S * S - end
                        for m, end, most in cases[start : start + AT_ONCE]
                    ]
                )
            ]
            for picture in impute(x[n].expand(len(removed), -1, -1, -1), removed, added)
        )
        given = _probabilities(network, filled).reshape(M, len(ends), 2, -1)  # most, least; C
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


def blur(x: Tensor, size_px: int = BLUR_PX, sigma_px: float = BLUR_SIGMA_PX) -> Tensor:
    """x (N, 3, S, S) under a Gaussian, cut to a square of `size_px`, the border repeated."""
    radius = size_px // 2
    distance = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-(distance**2) / (2 * sigma_px**2))
    weights = (weights / weights.sum()).repeat(x.shape[1], 1, 1, 1)  # (3, 1, 1, size_px)
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    across = F.conv2d(padded, weights, groups=x.shape[1])
    return F.conv2d(across, weights.mT, groups=x.shape[1])


def _probabilities(network: Network, pictures: Iterator[Tensor]) -> Floats:
    """The probabilities (n, C) of n pictures (3, S, S), taken from the iterator as needed."""
    given: list[Tensor] = []
    waiting: list[Tensor] = []

    def run() -> None:
        batch = torch.stack(waiting).contiguous(memory_format=torch.channels_last)
        given.append(network(batch).cpu())
        waiting.clear()

    for picture in pictures:
        waiting.append(picture)
        if len(waiting) == AT_ONCE:
            run()
    if waiting:
        run()
    return torch.cat(given).double().numpy()
