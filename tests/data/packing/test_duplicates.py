"""Near-duplicates are found, and strangers are not."""

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


def prints(images) -> list[Fingerprint]:
    return [fingerprint(image.convert("RGB")) for image in images]


def all_groups(found: list[Fingerprint]) -> list[int]:
    return groups(len(found), near_pairs(found).tolist()).tolist()


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_grouped(copy):
    assert all_groups(prints([IMAGE, patches(2), COPIES[copy]])) == [0, 1, 0]


def test_strangers_are_not_grouped():
    assert all_groups(prints(patches(seed) for seed in range(80))) == list(range(80))


@pytest.mark.parametrize(
    ("copy", "same"), [("saved again", True), ("smaller", True), ("mirrored", False)]
)
def test_the_same_image_is_told_from_a_near_one(copy, same):
    a, b = prints([IMAGE, COPIES[copy]])
    assert same_image(a, b) is same


def test_a_recoloured_image_is_near_but_not_the_same():
    """Swapping red and blue leaves the greys about as they were."""
    grey = ImageOps.grayscale(IMAGE)
    red, blue = Image.merge("RGB", (grey, grey, grey)), grey.point(lambda v: min(255, v + 24))
    tinted = Image.merge("RGB", (grey, grey, blue))
    a, b = prints([red, tinted])
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
    assert set(map(tuple, near_pairs(prints(images)).tolist())) == expected


def test_blocks_make_no_difference():
    """More images than one block: twins far apart and on both sides of a block's edge."""
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, (700, 4), dtype=np.uint64)
    hashes[[256, 699, 10]] = hashes[[255, 0, 600]]
    found = near_pairs([Fingerprint(one, np.zeros((16, 16, 3), np.uint8)) for one in hashes])
    assert found.tolist() == [[0, 699], [10, 600], [255, 256]]


def test_no_images_at_all():
    assert near_pairs([]).shape == (0, 2)
    assert groups(0, []).tolist() == []


def test_groups_are_connected_and_numbered_as_they_come():
    assert groups(6, [(1, 3), (3, 5), (0, 4)]).tolist() == [0, 1, 2, 1, 0, 1]
    assert groups(6, [(0, 4), (3, 5), (1, 3)]).tolist() == [0, 1, 2, 1, 0, 1]


def test_agreement_with_the_reference_groups(shared):
    """497 real images against groups of stricter average hashes (4) that know no mirroring.

    26 of the reference's 29 pairs are found; of the three others two are other drawings in a like
    pose. Of the 49 pairs found, all looked at, every one is the same drawing; 23 of them,
    mirrored or recoloured, are not in the reference.
    """
    with (shared / "pokemon10-groups.tsv").open() as file:
        reference = {row["file"]: row["group"] for row in csv.DictReader(file, delimiter="\t")}
    files = sorted(reference)
    found = []
    for file in files:
        image, width, height = decode((shared / "pokemon10" / file).read_bytes(), 224)
        found.append(fingerprint(letterbox(image, fit(width, height, 224))[0]))
    ours = all_groups(found)
    theirs = [reference[file] for file in files]
    pairs = {
        name: {(i, j) for i, j in combinations(range(len(files)), 2) if group[i] == group[j]}
        for name, group in (("ours", ours), ("theirs", theirs))
    }
    both = pairs["ours"] & pairs["theirs"]
    assert len(pairs["theirs"]) == 29
    assert len(both) >= 25
    assert len(both) <= len(pairs["ours"]) <= 65  # 57 with those that are connected through others
    labels = [file.split("/")[0] for file in files]
    assert all(labels[i] == labels[j] for i, j in pairs["ours"])
