"""The format of a file, by its first bytes and by its name."""

import re

import numpy as np
import pytest
from PIL import Image

from pokecam.data.sources.formats import (
    HEAD_BYTES,
    NOT_READ,
    READABLE,
    detect_format,
    has_image_content,
    has_image_ending,
)
from tests.conftest import PROJECT
from tests.support.images import image_bytes


@pytest.mark.parametrize("name", sorted(set(READABLE) - {"ICNS", "ICO"}))
def test_every_readable_format_is_known_by_content(name):
    head = image_bytes(1, name)[:HEAD_BYTES]
    assert detect_format(head) == name
    assert has_image_content(head)


@pytest.mark.parametrize(
    ("head", "name", "is_image"),
    [
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><!-- x --><svg>", "SVG", True),
        (b"<html><body><svg>", "HTML", False),
        (b"<!doctype HTML>", "HTML", False),
        (b"%PDF-1.7", "PDF", False),
        (b"PK\x03\x04", "ZIP", False),
        (b"\0\0\0\x18ftypmif1", "HEIC", True),
        (b"8BPS\0\1", "Photoshop", True),
        (b"II*\0\x10\0\0\0CR\2\0", "camera raw", True),
        (b"\xff\x0a\xfa\x1f", "JPEG XL", True),
        (b"icns\0\0\1\0", "ICNS", True),
        (b"\0\0\1\0\1\0", "ICO", True),
        (b"\0\0\2\0\1\0\x20\x20\0\0\0\0\x30\0\0\0\x20\0", None, False),  # a cursor
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript", True),
        (b"BMW has two letters in common", None, False),
        (b"P6 is a road", "PPM", True),
        (b"Pikachu, 25", None, False),
        (b"", None, False),
    ],
)
def test_kinds(head, name, is_image):
    assert detect_format(head) == name
    assert has_image_content(head) is is_image


@pytest.mark.parametrize(
    ("name", "is_image"),
    [
        ("a.eps", True),
        ("a.CR3", True),
        ("a.psd", True),
        ("a.im", True),
        ("a.pdf", False),
        ("a.JPG", True),
        ("a.tar.webp", True),
        ("a.jpg.txt", False),
        ("jpg", False),
        ("a.csv", False),
    ],
)
def test_names(name, is_image):
    assert has_image_ending(name) is is_image


def test_every_image_that_pillow_knows_is_read_or_listed():
    """Nobody's images vanish because their ending is in no list."""
    Image.init()
    no_images = {"BUFR", "GRIB", "HDF5", "MPEG", "PDF"}
    endings = {e[1:] for e, name in Image.EXTENSION.items() if name not in no_images}
    assert endings <= {e for row in (READABLE | NOT_READ).values() for e in row}
    of_readable = {e[1:] for e, name in Image.EXTENSION.items() if name in READABLE}
    assert of_readable <= {e for row in READABLE.values() for e in row}


def test_the_documentation_lists_what_the_code_reads():
    text = (PROJECT / "docs" / "your-own-images.md").read_text(encoding="utf-8")
    for title, table in (("what is read", READABLE), ("what is not read", NOT_READ)):
        block = re.search(rf"\| {title} \| .*\n\|---.*\n((?:\|.*\n)+)", text)[1]
        rows = [re.findall(r"\| (.*?) (?=\|)", line) for line in block.splitlines()]
        assert rows == [[name, " ".join(endings)] for name, endings in table.items()]


def test_bytes_by_chance_are_no_image():
    """A format without a signature is known by many numbers of its header together."""
    rng = np.random.default_rng(0)
    heads = [rng.integers(0, 256, HEAD_BYTES, dtype=np.uint8).tobytes() for _ in range(20_000)]
    assert [head[:18] for head in heads if detect_format(head) in READABLE] == []
