"""Near-duplicates are found, and other pairs are not."""

import csv
import io
from itertools import combinations

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from pokecam.data.packed.letterbox import fit, letterbox
from pokecam.data.packing.decode import decode
from pokecam.data.packing.duplicates import (
    MAX_AVERAGE,
    MAX_DIFFERENCE,
    Fingerprint,
    fingerprint,
    groups,
    near_pairs,
    same_image,
)
from tests.support.images import encoded, patches

IMAGE = patches(1, 224, 200).resize((224, 200), Image.Resampling.BICUBIC)
COPIES = {
    "saved again": Image.open(io.BytesIO(encoded(IMAGE, "JPEG", quality=60))),
    "smaller": IMAGE.resize((112, 100), Image.Resampling.LANCZOS),
    "brighter": ImageEnhance.Brightness(IMAGE).enhance(1.1),
    "mirrored": ImageOps.mirror(IMAGE),
}


def fingerprints(images) -> list[Fingerprint]:
    return [fingerprint(image.convert("RGB")) for image in images]


def all_groups(images: list[Fingerprint]) -> list[int]:
    return groups(len(images), near_pairs(images).tolist()).tolist()


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_grouped(copy):
    assert all_groups(fingerprints([IMAGE, patches(2), COPIES[copy]])) == [0, 1, 0]


def test_different_images_are_not_grouped():
    assert all_groups(fingerprints(patches(seed) for seed in range(80))) == list(range(80))


@pytest.mark.parametrize(
    ("copy", "same"), [("saved again", True), ("smaller", True), ("mirrored", False)]
)
def test_the_same_image_is_distinguished_from_a_near_one(copy, same):
    a, b = fingerprints([IMAGE, COPIES[copy]])
    assert same_image(a, b) is same


def test_a_recoloured_image_is_near_but_not_the_same():
    """The greys stay about the same where only the blue changes."""
    grey = ImageOps.grayscale(IMAGE)
    red, blue = Image.merge("RGB", (grey, grey, grey)), grey.point(lambda v: min(255, v + 24))
    tinted = Image.merge("RGB", (grey, grey, blue))
    a, b = fingerprints([red, tinted])
    assert len(near_pairs([a, b])) == 1
    assert not same_image(a, b)


def test_hashes_are_those_of_imagehash_and_distances_are_bits():
    """Pairs by the library's own distances, one by one."""
    images = [patches(seed % 12, 96, 96).rotate(seed // 12) for seed in range(48)]
    theirs = [
        [(imagehash.average_hash(side), imagehash.dhash(side)) for side in (a, ImageOps.mirror(a))]
        for a in images
    ]
    expected = {
        (i, j)
        for (i, (a, _)), (j, sides) in combinations(enumerate(theirs), 2)
        if any(a[0] - side[0] <= MAX_AVERAGE and a[1] - side[1] <= MAX_DIFFERENCE for side in sides)
    }
    assert len(expected) > 20
    assert set(map(tuple, near_pairs(fingerprints(images)).tolist())) == expected


def test_blocks_make_no_difference():
    """More images than one block: equal ones far from each other and at the edge of a block."""
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, (700, 4), dtype=np.uint64)
    hashes[[256, 699, 10]] = hashes[[255, 0, 600]]
    thumbnail = np.zeros((16, 16, 3), np.uint8)
    pairs = near_pairs([Fingerprint(row, thumbnail) for row in hashes])
    assert pairs.tolist() == [[0, 699], [10, 600], [255, 256]]


def test_no_images_at_all():
    assert near_pairs([]).shape == (0, 2)
    assert groups(0, []).tolist() == []


def test_groups_are_connected_and_numbered_by_their_first_image():
    assert groups(6, [(1, 3), (3, 5), (0, 4)]).tolist() == [0, 1, 2, 1, 0, 1]
    assert groups(6, [(0, 4), (3, 5), (1, 3)]).tolist() == [0, 1, 2, 1, 0, 1]


def test_agreement_with_the_reference_groups(shared):
    """497 real images, compared with groups by a stricter average hash (4) without mirroring.

    26 of the 29 pairs of the reference are found. Two of the other three are different drawings in
    a similar pose. 49 pairs are found; by eye each is the same drawing. 23 of them, mirrored or
    recoloured, are not in the reference.
    """
    with (shared / "pokemon10-groups.tsv").open() as file:
        reference = {row["file"]: row["group"] for row in csv.DictReader(file, delimiter="\t")}
    files = sorted(reference)
    images = []
    for file in files:
        image, width, height = decode((shared / "pokemon10" / file).read_bytes(), 224)
        images.append(fingerprint(letterbox(image, fit(width, height, 224))[0]))
    ours = all_groups(images)
    theirs = [reference[file] for file in files]
    pairs = {
        name: {(i, j) for i, j in combinations(range(len(files)), 2) if group[i] == group[j]}
        for name, group in (("ours", ours), ("theirs", theirs))
    }
    both = pairs["ours"] & pairs["theirs"]
    assert len(pairs["theirs"]) == 29
    assert len(both) >= 25
    assert len(both) <= len(pairs["ours"]) <= 65  # 57 with indirect pairs
    labels = [file.split("/")[0] for file in files]
    assert all(labels[i] == labels[j] for i, j in pairs["ours"])
