"""Near-duplicates: images that are nearly the same, mirrored or not.

Two perceptual hashes of 64 bits must both agree: the average hash (is a cell of 8 × 8 brighter
than the mean?) and the difference hash (is a cell brighter than its left neighbour?). One hash
alone accepts too many pairs of drawings on a white background. Mirrored copies count because
training mirrors images: a near-duplicate of a test image in the training set would make the test
easier.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import imagehash
import numpy as np
from PIL import Image, ImageOps

# How many of the 64 bits of each hash may differ between near-duplicates. The limits were chosen by
# looking at 497 real images: up to them every pair was the same drawing (recoloured, cropped,
# resized or mirrored), beyond them there were false pairs.
MAX_AVERAGE = 6
MAX_DIFFERENCE = 10
# The limits for the same image. 100 real images that were saved again, at half the size or with a
# JPEG quality of 30, stayed within them. The most similar two of different classes have a
# difference in colour of 18.
_SAME_AVERAGE = 2
_SAME_DIFFERENCE = 4
_SAME_COLOUR = 6.0  # mean |difference| of two 16 × 16 thumbnails, values of 0 to 255
_THUMBNAIL_PX = 16
_BLOCK = 32  # rows that are compared with all others at once: 30 MB for 100,000 images


@dataclass(frozen=True)
class Fingerprint:
    """What is needed of an image to find its near-duplicates.

    Attributes:
        hashes: uint64 (4,), the average and the difference hash, then those of the mirrored image.
        thumbnail: uint8 (16, 16, 3).
    """

    hashes: np.ndarray
    thumbnail: np.ndarray


def fingerprint(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of an RGB image without the bars of the letterbox."""
    grey = image.convert("L")
    hashes = [
        compute(side).hash
        for side in (grey, ImageOps.mirror(grey))
        for compute in (imagehash.average_hash, imagehash.dhash)
    ]
    packed = np.packbits(np.array(hashes).reshape(4, 64), axis=1).view(np.uint64)[:, 0]
    small = image.resize((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BOX)
    return Fingerprint(packed, np.asarray(small))


def near_pairs(fingerprints: list[Fingerprint], workers: int = 1) -> np.ndarray:
    """Find all pairs of near-duplicates; every image is compared with every other.

    Args:
        fingerprints: of N images.
        workers: threads that compare.

    Returns:
        The pairs (n, 2) of indices i < j, ascending.
    """
    rows = [fingerprint.hashes for fingerprint in fingerprints]
    hashes = np.array(rows, np.uint64).reshape(-1, 4).T.copy()  # (4, N)
    starts = range(0, len(fingerprints), _BLOCK)
    with ThreadPoolExecutor(workers) as pool:
        blocks = list(pool.map(partial(_near_pairs_of_block, hashes), starts))
    return np.concatenate([np.empty((0, 2), np.intp), *blocks])


def _near_pairs_of_block(hashes: np.ndarray, start: int) -> np.ndarray:
    """Return the pairs (n, 2) whose i is in the block of rows that begins at `start`."""
    average, difference = hashes[0, start:], hashes[1, start:]
    pairs = []
    for first in (0, 2):  # the other image as it is, and mirrored
        other_average, other_difference = hashes[first : first + 2, start:]
        # The first hash leaves few pairs, and only these are compared by the second.
        distances = np.bitwise_count(average[:_BLOCK, None] ^ other_average)  # (B, N - start)
        i, j = np.nonzero(distances <= MAX_AVERAGE)
        is_near = np.bitwise_count(difference[i] ^ other_difference[j]) <= MAX_DIFFERENCE
        pairs.append(np.stack([i, j], axis=1)[is_near & (i < j)])
    return np.unique(np.concatenate(pairs), axis=0) + start


def groups(count: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return the connected components of the graph whose edges are the pairs.

    Args:
        count: the number of images.
        pairs: of near-duplicates, by index.

    Returns:
        The group of each image, (count,) int. Groups are numbered in the order of their first
        images.
    """
    # Union-find. `scipy.sparse.csgraph` has the same, but its import takes half a second and 24 MB,
    # and nothing else in `select` needs it.
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = sorted((root(i), root(j)))
        parent[b] = a
    return np.unique([root(i) for i in range(count)], return_inverse=True)[1]


def same_image(a: Fingerprint, b: Fingerprint) -> bool:
    """Return whether two files hold the same image, apart from its size and compression.

    A mirrored image is not the same.
    """
    average, difference = np.bitwise_count(a.hashes[:2] ^ b.hashes[:2])
    colour = np.abs(a.thumbnail.astype(float) - b.thumbnail).mean()
    return bool(
        average <= _SAME_AVERAGE and difference <= _SAME_DIFFERENCE and colour <= _SAME_COLOUR
    )
