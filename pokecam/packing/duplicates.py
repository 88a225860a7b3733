"""Pictures that are nearly the same, mirrored ones included.

Two perceptual hashes of 64 bits must agree together: the average hash (is a cell of 8 × 8 brighter
than the mean) and the difference hash (is a cell brighter than its left neighbour). Either
alone is too loose on drawings before a white background. Mirrored copies count, because training
mirrors pictures: the twin of a test picture in the training part gives it away.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, ImageOps

# Bits of 64 that may differ. Chosen on 497 real pictures by eye: up to these limits every pair
# was the same drawing (recoloured, cropped, resized, mirrored); beyond, false ones come in.
MAX_AVERAGE = 6
MAX_DIFFERENCE = 10
# 100 real pictures saved again at half the size or a JPEG quality of 30 stayed within these
# limits; the nearest two of different classes have a colour difference of 18.
_SAME_AVERAGE = 2
_SAME_DIFFERENCE = 4
_SAME_COLOUR = 6.0  # mean of |difference| over a 16 × 16 thumbnail, of 255
_THUMBNAIL_PX = 16
_BLOCK = 256  # rows compared with all others at once: 20 MB for 10,000 pictures


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a picture to find its duplicates."""

    hashes: np.ndarray  # uint64 (4,): average, difference; the same of the mirrored picture
    thumbnail: np.ndarray  # uint8 (16, 16, 3)


def fingerprint(picture: Image.Image) -> Fingerprint:
    """Return the fingerprint of an RGB picture (without the bars of its square)."""
    grey = picture.convert("L")
    hashes = [
        compute(side).hash
        for side in (grey, ImageOps.mirror(grey))
        for compute in (imagehash.average_hash, imagehash.dhash)
    ]
    packed = np.packbits(np.array(hashes).reshape(4, 64), axis=1).view(np.uint64)[:, 0]
    small = picture.resize((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BOX)
    return Fingerprint(packed, np.asarray(small))


def near_pairs(prints: list[Fingerprint]) -> np.ndarray:
    """Return the index pairs (n, 2), i < j, of pictures that are nearly the same or mirrored."""
    hashes = np.array([one.hashes for one in prints], np.uint64).reshape(-1, 4)  # (N, 4)
    found = [np.empty((0, 2), np.intp)]
    for start in range(0, len(hashes), _BLOCK):
        rows = hashes[start : start + _BLOCK, None]  # (B, 1, 4)
        near = np.zeros((rows.shape[0], len(hashes) - start), bool)  # j ≥ start
        others = hashes[None, start:]
        for mirrored in (0, 2):
            average = np.bitwise_count(rows[..., 0] ^ others[..., mirrored])
            difference = np.bitwise_count(rows[..., 1] ^ others[..., mirrored + 1])
            near |= (average <= MAX_AVERAGE) & (difference <= MAX_DIFFERENCE)
        found.append(np.argwhere(np.triu(near, k=1)) + start)
    return np.concatenate(found)


def groups(count: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return the group (count,) of each picture: connected by pairs, numbered as they come."""
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


def same_picture(a: Fingerprint, b: Fingerprint) -> bool:
    """True if two files hold the same picture, if only saved or resized anew; mirrored is not."""
    average, difference = np.bitwise_count(a.hashes[:2] ^ b.hashes[:2])
    colour = np.abs(a.thumbnail.astype(float) - b.thumbnail).mean()
    return bool(
        average <= _SAME_AVERAGE and difference <= _SAME_DIFFERENCE and colour <= _SAME_COLOUR
    )
