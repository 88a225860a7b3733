"""Are maps faithful: does the probability of the class fall when the pixels that they highlight are
removed?

Everything in this module is about one class for each image, the predicted one, and about heatmaps
(N, M, S, S) of M methods, float32 in [0, 1], as `cam.display.display` gives them. A network is any
function that gives probabilities (n, C) for input (n, 3, S, S). It runs on several changed images
at a time (`at_once`), of one or several of the N images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pokecam.cam.imputation import impute, noise
from pokecam.networks.device import is_out_of_memory

CPU_AT_ONCE, GPU_AT_ONCE = 16, 256  # changed images that run through the network together
CPU_FILL_AT_ONCE = 4  # images that are filled in together; more do not fit into a core's cache
STEPS = 14  # deletion and insertion change the image in as many steps
BLUR_PX, BLUR_SIGMA_PX = 11, 5.0  # of the image that insertion begins with
PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)  # percentages of the pixels that ROAD removes

Network = Callable[[Tensor], Tensor]
Floats = NDArray[np.floating]
PixelIndices = NDArray[np.intp]


@dataclass(frozen=True)
class Curves:
    """The probability of the class while pixels are removed or added.

    Attributes:
        deletion: (N, M, steps + 1), the first before any step.
        insertion: (N, M, steps + 1), likewise.
    """

    deletion: Floats
    insertion: Floats


@dataclass(frozen=True)
class Removal:
    """The prediction after P different percentages of the pixels have been removed and filled in.

    Attributes:
        most: (N, M, P), the probability of the class without the most relevant pixels.
        least: (N, M, P), the probability of the class without the least relevant pixels.
        flipped: (N, M, P) bool, whether another class is predicted without the most relevant
            pixels.
    """

    most: Floats
    least: Floats
    flipped: NDArray[np.bool_]

    @property
    def combined(self) -> Floats:
        """The combined score of ROAD, (N, M): the mean over percentages of (least − most) / 2."""
        return ((self.least - self.most) / 2).mean(axis=-1)


def at_once(device: torch.device) -> int:
    """Return how many changed images run through the network together.

    More are no faster on a CPU. A GPU that computes fewer waits for the next operation to start.
    """
    return CPU_AT_ONCE if device.type == "cpu" else GPU_AT_ONCE


def order(heatmaps: Floats) -> PixelIndices:
    """Return the pixels of every heatmap, from the most salient one to the least salient one.

    Pixels of equal value are in reading order.

    Args:
        heatmaps: (…, S, S) in [0, 1]; values are compared as float32.

    Returns:
        (…, S²) int, indices into the flattened image.
    """
    flat = heatmaps.reshape(*heatmaps.shape[:-2], -1).astype(np.float32)
    # The bits of floats ≥ 0 are in the order of their values. The index of the pixel, in the lower
    # half of a key, makes every key unique, so that plain sorting of numbers gives a stable order.
    # It takes 1/15 to 3/5 of the time of a stable argsort (NumPy 2.4, AVX-512).
    keys = (~(flat + np.float32(0)).view(np.uint32)).astype(
        np.uint64
    ) << 32  # + 0 turns -0.0 into 0.0
    keys |= np.arange(flat.shape[-1], dtype=np.uint64)
    keys.sort(axis=-1)
    return (keys & 0xFFFFFFFF).astype(np.intp)


def blur(x: Tensor, size_px: int = BLUR_PX, sigma_px: float = BLUR_SIGMA_PX) -> Tensor:
    """Blur images with a Gaussian.

    Args:
        x: (N, 3, S, S). Its border is repeated.
        size_px: the side of the square window.
        sigma_px: the standard deviation.

    Returns:
        (N, 3, S, S).
    """
    radius = size_px // 2
    distance = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    weights = torch.exp(-(distance**2) / (2 * sigma_px**2))
    weights = (weights / weights.sum()).repeat(x.shape[1], 1, 1, 1)  # (3, 1, 1, size_px)
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    blurred_rows = F.conv2d(padded, weights, groups=x.shape[1])
    return F.conv2d(blurred_rows, weights.mT, groups=x.shape[1])


def deletion_insertion(
    network: Network,
    x: Tensor,
    target: Tensor,
    pixels: PixelIndices,
    steps: int = STEPS,
    start: Callable[[Tensor], Tensor] = blur,
) -> Curves:
    """Compute deletion and insertion curves.

    For deletion, the most salient pixels of the image are replaced by 0, the mean colour. For
    insertion, they replace those of another image. After step i the first i / steps of all pixels
    have changed. Petsiuk et al. 2018 (RISE), arXiv 1806.07421, §4.2; their steps have 224 pixels.

    Args:
        network: see above.
        x: (N, 3, S, S), network input.
        target: (N,) int, the class of each image.
        pixels: (N, M, S²), as `order` gives them.
        steps: the number of steps.
        start: x → the images (N, 3, S, S) that insertion begins with.
    """
    N, M, P = pixels.shape
    ends = [P * i // steps for i in range(steps + 1)]
    originals, starts = _pixel_rows(x), _pixel_rows(start(x))
    zeros = torch.zeros_like(originals[0])
    batches = _BatchedNetwork(network, x)
    for n in range(N):
        for image in (zeros, originals[n], starts[n]):
            batches.add(image)
        pixels_of_image = torch.from_numpy(pixels[n]).to(x.device)
        for initial, final in ((originals[n], zeros), (starts[n], originals[n])):
            for m in range(M):
                image = initial.clone()
                for first, end in pairwise(ends[:-1]):
                    step_pixels = pixels_of_image[m, first:end]
                    image.index_copy_(0, step_pixels, final.index_select(0, step_pixels))
                    batches.add(image)
    curves = np.empty((2, N, M, steps + 1))
    for n, (p_zeros, p_original, p_start, *p_steps) in enumerate(batches.of_targets(target)):
        curves[:, n, :, 0] = [[p_original], [p_start]]
        curves[:, n, :, -1] = [[p_zeros], [p_original]]
        curves[:, n, :, 1:-1] = np.reshape(p_steps, (2, M, steps - 1))
    return Curves(*curves)


def area(curves: Floats) -> Floats:
    """Return the area (…) under curves (…, steps + 1) over 0 … 1, by the trapezoidal rule."""
    return (curves.sum(axis=-1) - (curves[..., 0] + curves[..., -1]) / 2) / (curves.shape[-1] - 1)


def drop_and_increase(
    network: Network, x: Tensor, target: Tensor, heatmaps: Floats
) -> tuple[Floats, Floats]:
    """Compute average drop and increase in confidence, for every image,

        drop = max(0, Y − O) / Y,  increase = 1 if O > Y, else 0

    Y is the probability of the class, and O that of the class for the input times the heatmap. The
    measures of the paper are the means over images. Chattopadhay et al. 2018, arXiv 1710.11063,
    §4.1.

    Args:
        network: see above.
        x: (N, 3, S, S), network input.
        target: (N,) int, the class of each image.
        heatmaps: (N, M, S, S).

    Returns:
        Drops and increases, (N, M) each.
    """
    N, M = heatmaps.shape[:2]
    images = _pixel_rows(x)
    batches = _BatchedNetwork(network, x)
    for n in range(N):
        batches.add(images[n])
        for heatmap in torch.from_numpy(heatmaps[n]).to(x).flatten(1):  # M of (S²,)
            batches.add(images[n] * heatmap[:, None])
    drops, increases = np.empty((N, M)), np.empty((N, M))
    for n, (p_original, *p_masked) in enumerate(batches.of_targets(target)):
        drops[n] = np.maximum(0, p_original - p_masked) / p_original
        increases[n] = np.array(p_masked) > p_original
    return drops, increases


def road(
    network: Network,
    x: Tensor,
    target: Tensor,
    pixels: PixelIndices,
    seeds: Sequence[int],
    percentiles: tuple[int, ...] = PERCENTILES,
) -> Removal:
    """Remove and debias (ROAD): remove the most relevant pixels, and the least relevant ones.

    Removed pixels are filled in from their surroundings (`impute`). Rong et al. 2022,
    arXiv 2202.00449; the combined score is that of pytorch-grad-cam.

    Args:
        network: see above.
        x: (N, 3, S, S), network input.
        target: (N,) int, the class of each image.
        pixels: (N, M, S²), as `order` gives them.
        seeds: N seeds of the noise. The noise of an image is the same for all its methods and
            percentages.
        percentiles: P percentages of the pixels to remove.
    """
    N, M, P = pixels.shape
    ends = [P * percentage // 100 for percentage in percentiles]
    spans = [span for end in ends for span in (slice(end), slice(P - end, P))]
    noises = torch.stack([noise(image, seed) for image, seed in zip(x, seeds, strict=False)])
    on_device = torch.from_numpy(pixels).to(x.device)
    removals = [(n, on_device[n, m, span]) for n in range(N) for m in range(M) for span in spans]
    outputs = []
    size = at_once(x.device)
    for start in range(0, len(removals), size):
        chunk = removals[start : start + size]
        is_removed = torch.zeros(len(chunk), P, dtype=torch.bool, device=x.device)
        for row, (_, removed_pixels) in zip(is_removed, chunk, strict=True):
            row[removed_pixels] = True
        holes = is_removed.view(-1, *x.shape[2:])
        images = torch.tensor([n for n, _ in chunk], device=x.device)
        outputs.append(fill_and_run(network, x, images, holes, noises))
    probabilities = torch.cat(outputs).double().numpy()
    probabilities = probabilities.reshape(N, M, len(ends), 2, -1)  # most, least; C
    classes = target.cpu().numpy()
    p_of_class = probabilities[np.arange(N), ..., classes]  # (N, M, P, 2)
    predicted = probabilities[..., 0, :].argmax(axis=-1)
    return Removal(p_of_class[..., 0], p_of_class[..., 1], predicted != classes[:, None, None])


def flip_share(flipped: NDArray[np.bool_], percentiles: tuple[int, ...] = PERCENTILES) -> Floats:
    """Return the smallest share of most relevant pixels without which another class is predicted.

    Args:
        flipped: (…, P), as in `Removal`.
        percentiles: the P percentages.

    Returns:
        (…); 1 where the prediction does not change at any percentage.
    """
    shares = np.array([*percentiles, 100]) / 100
    flips_at_end = np.concatenate([flipped, np.ones((*flipped.shape[:-1], 1), bool)], axis=-1)
    return shares[flips_at_end.argmax(axis=-1)]


def _pixel_rows(x: Tensor) -> Tensor:
    """Return images (N, C, S, S) as (N, S², C).

    The channels of a pixel are adjacent, so that changing a pixel changes one row.
    """
    return x.flatten(2).mT.contiguous()


class _BatchedNetwork:
    """Collects changed images, and runs the network on several of them (`at_once`).

    Args:
        network: see above.
        x: (N, C, S, S), images of the same shape, type and device.
    """

    def __init__(self, network: Network, x: Tensor) -> None:
        self._network = network
        self._n_images = len(x)
        self._batch = x.new_empty(at_once(x.device), *x.shape[2:], x.shape[1])  # (n, S, S, C)
        self._n_waiting = 0
        self._outputs: list[Tensor] = []

    def add(self, image: Tensor) -> None:
        """Copy an image (S², C) into the next batch."""
        self._batch[self._n_waiting] = image.view(self._batch.shape[1:])
        self._n_waiting += 1
        if self._n_waiting == len(self._batch):
            self._run()

    def of_targets(self, target: Tensor) -> Floats:
        """Return the probability of the class of its image for each changed image.

        Args:
            target: (N,) int. Of every image the same number of changed images was added, those of
                the first image first.

        Returns:
            (N, changed images of an image).
        """
        if self._n_waiting:
            self._run()
        outputs = torch.cat(self._outputs).double().numpy()
        outputs = outputs.reshape(self._n_images, -1, outputs.shape[-1])
        return outputs[np.arange(self._n_images), :, target.cpu().numpy()]

    def _run(self) -> None:
        batch = self._batch[: self._n_waiting].permute(0, 3, 1, 2)  # channels_last, not copied
        self._outputs.append(_run(self._network, batch))
        self._n_waiting = 0


def fill_and_run(
    network: Callable[[Tensor], Tensor], x: Tensor, images: Tensor, holes: Tensor, noises: Tensor
) -> Tensor:
    """Fill in pixels of images, and run the network on the results.

    Args:
        network: input (n, 3, S, S) → (n, C).
        x: (N, 3, S, S).
        images: (n,) int, which of the N images each result is made of.
        holes: (n, S, S) bool, the pixels that are removed.
        noises: (N, 3, S, S), the noise of each image, as in `impute`.

    Returns:
        (n, C), on the CPU.
    """

    def of_images(values: Tensor, rows: Tensor) -> Tensor:
        # Of a single image nothing is copied.
        return values.expand(len(rows), -1, -1, -1) if len(values) == 1 else values[images[rows]]

    def run(rows: Tensor) -> Tensor:
        filled = torch.empty(
            (len(rows), *x.shape[1:]),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
        size = CPU_FILL_AT_ONCE if x.device.type == "cpu" else len(rows)
        for part, filled_part in zip(rows.split(size), filled.split(size), strict=True):
            filled_part.copy_(impute(of_images(x, part), holes[part], of_images(noises, part)))
        return network(filled)

    return _run(run, torch.arange(len(images), device=x.device))


def _run(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return what a function gives for each row of x, on the CPU; in halves where memory does not
    hold all."""
    try:
        return function(x).cpu()
    except RuntimeError as error:
        if not is_out_of_memory(error) or len(x) == 1:
            raise
    return torch.cat([_run(function, half) for half in x.split((len(x) + 1) // 2)])
