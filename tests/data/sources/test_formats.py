"""The format of a file, by its first bytes and by its name."""

import pytest

from pokecam.data.sources.formats import (
    HEAD_BYTES,
    READABLE,
    detect_format,
    has_image_content,
    has_image_ending,
)
from tests.support.images import image_bytes


@pytest.mark.parametrize("name", sorted(set(READABLE) - {"ICO"}))
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
    [("a.JPG", True), ("a.tar.webp", True), ("a.jpg.txt", False), ("jpg", False), ("a.csv", False)],
)
def test_names(name, is_image):
    assert has_image_ending(name) is is_image
