"""Images that are nearly the same, mirrored ones included.

Two perceptual hashes of 64 bits must agree together: the average hash (is a cell of 8 × 8 brighter
than the mean) and the difference hash (is a cell brighter than its left neighbour). Either
alone is too loose on drawings before a white background. Mirrored copies count, because training
mirrors images: the twin of a test image in the training part gives it away.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import imagehash
import numpy as np
from PIL import Image, ImageOps

# Bits of 64 that may differ. Chosen on 497 real images by eye: up to these limits every pair
# was the same drawing (recoloured, cropped, resized, mirrored); beyond, false ones come in.
MAX_AVERAGE = 6
MAX_DIFFERENCE = 10
# 100 real images saved again at half the size or a JPEG quality of 30 stayed within these
# limits; the nearest two of different classes have a colour difference of 18.
_SAME_AVERAGE = 2
_SAME_DIFFERENCE = 4
_SAME_COLOUR = 6.0  # mean of |difference| over a 16 × 16 thumbnail, of 255
_THUMBNAIL_PX = 16
_BLOCK = 32  # rows compared with all others at once: 30 MB for 100,000 images


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image to find its duplicates."""

    hashes: np.ndarray  # uint64 (4,): average, difference; the same of the mirrored image
    thumbnail: np.ndarray  # uint8 (16, 16, 3)


def fingerprint(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of an RGB image (without the bars of its square)."""
    grey = image.convert("L")
    hashes = [
        compute(side).hash
        for side in (grey, ImageOps.mirror(grey))
        for compute in (imagehash.average_hash, imagehash.dhash)
    ]
    packed = np.packbits(np.array(hashes).reshape(4, 64), axis=1).view(np.uint64)[:, 0]
    small = image.resize((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BOX)
    return Fingerprint(packed, np.asarray(small))


def near_pairs(prints: list[Fingerprint], workers: int = 1) -> np.ndarray:
    """Return the index pairs (n, 2), i < j, ascending, of images that are nearly the same or
    mirrored. Every two are compared, on `workers` threads."""
    hashes = np.array([one.hashes for one in prints], np.uint64).reshape(-1, 4).T.copy()  # (4, N)
    starts = range(0, len(prints), _BLOCK)
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(partial(_near_block, hashes), starts))
    return np.concatenate([np.empty((0, 2), np.intp), *found])


def _near_block(hashes: np.ndarray, start: int) -> np.ndarray:
    """The pairs (n, 2) whose i lies in the block of rows from `start` on."""
    average, difference = hashes[0, start:], hashes[1, start:]
    found = []
    for mirrored in (0, 2):
        theirs = hashes[mirrored : mirrored + 2, start:]
        # The few that one hash leaves are all that the other need look at.
        near = np.bitwise_count(average[:_BLOCK, None] ^ theirs[0]) <= MAX_AVERAGE  # (B, N - start)
        i, j = np.nonzero(near)
        near_too = np.bitwise_count(difference[i] ^ theirs[1, j]) <= MAX_DIFFERENCE
        found.append(np.stack([i, j], axis=1)[near_too & (i < j)])
    return np.unique(np.concatenate(found), axis=0) + start


def groups(count: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return the group (count,) of each image: connected by pairs, numbered as they come."""
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
    """True if two files hold the same image, if only saved or resized anew; mirrored is not."""
    average, difference = np.bitwise_count(a.hashes[:2] ^ b.hashes[:2])
    colour = np.abs(a.thumbnail.astype(float) - b.thumbnail).mean()
    return bool(
        average <= _SAME_AVERAGE and difference <= _SAME_DIFFERENCE and colour <= _SAME_COLOUR
    )
