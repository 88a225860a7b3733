"""The format of a file by its first bytes, and the endings that image files have."""

import struct
from collections.abc import Callable

# Format → endings of its files. These formats are common in collections of images. Pillow reads
# them by itself, within the limits of `packing/limits.py`.
READABLE = {
    "AVIF": ("avif", "avifs"),
    "BMP": ("bmp",),
    "DDS": ("dds",),
    "DIB": ("dib",),
    "GIF": ("gif",),
    "ICNS": ("icns",),
    "ICO": ("ico",),
    "JPEG": ("jpg", "jpeg", "jpe", "jfif", "mpo"),
    "JPEG2000": ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
    "PCX": ("pcx",),
    "PNG": ("png", "apng"),
    "PPM": ("ppm", "pgm", "pbm", "pnm", "pfm"),
    "QOI": ("qoi",),
    "SGI": ("sgi", "rgb", "rgba", "bw"),
    "TGA": ("tga", "icb", "vda", "vst"),
    "TIFF": ("tif", "tiff"),
    "WEBP": ("webp",),
}

# What is not read: why → endings. Such a file is in the quarantine.
NOT_READ = {
    "drawing instructions instead of pixels": ("svg", "svgz", "wmf", "emf", "ai"),
    "would start another program": ("eps", "ps"),
    "needs another package": ("heic", "heif", "hif", "heics", "jxl", "exr", "hdr"),
    "the file of a camera or an image editor, to be developed or exported first": (
        *("cr2", "cr3", "nef", "arw", "dng", "orf", "rw2", "raf", "srw", "pef"),
        *("psd", "psb", "xcf"),
    ),
    "Pillow will no longer read it, and nothing in the file names the format": ("im",),
    "rare, and every reader is one more that a harmful file can attack": (
        *("blp", "cur", "dcx", "fit", "fits", "flc", "fli", "ftc", "ftu", "gbr", "iim"),
        *("msp", "palm", "pcd", "pxr", "ras", "xbm", "xpm"),
    ),
}

# (offset, bytes at this offset, format)
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WEBP"),
    (8, b"CR\x02", "camera raw"),
    (4, b"ftypcrx", "camera raw"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"IIRO", "camera raw"),
    (0, b"IIRS", "camera raw"),
    (0, b"IIU\x00", "camera raw"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"DDS |\x00\x00\x00", "DDS"),
    (0, b"icns", "ICNS"),
    (0, b"qoif", "QOI"),
    (0, b"8BPS", "Photoshop"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"\x00\x00\x00\x0cJXL \r\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "EMF"),
    (0, b"%!PS", "PostScript"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"Rar!", "RAR"),
)
# Formats of images that are recognised and not read.
CONVERTIBLE = {
    *("camera raw", "HEIC", "Photoshop", "GIMP", "JPEG XL", "OpenEXR", "Radiance"),
    *("WMF", "EMF", "PostScript", "SVG"),
}

_READABLE_ENDINGS = tuple(f".{ending}" for endings in READABLE.values() for ending in endings)
_ENDINGS = (
    *_READABLE_ENDINGS,
    *(f".{ending}" for endings in NOT_READ.values() for ending in endings),
)
HEAD_BYTES = 512


def detect_format(head: bytes) -> str | None:
    """Return the name of a file's format, or None if it is not recognised.

    Args:
        head: the first `HEAD_BYTES` of the file.
    """
    for offset, signature, name in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return name
    # The two letters of a bitmap can also begin a text, so its reserved bytes 6 to 10 are checked.
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    for name, has_header in _HEADERS.items():
        if has_header(head):
            return name
    text = head[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "HTML"
    if text.startswith(b"<") and b"<svg" in text:
        return "SVG"
    return None


def has_image_ending(name: str) -> bool:
    """Return whether a file name ends as those of images do."""
    return name.lower().endswith(_ENDINGS)


def has_readable_ending(name: str) -> bool:
    """Return whether a file name ends as those of images that are read do."""
    return name.lower().endswith(_READABLE_ENDINGS)


def has_image_content(head: bytes) -> bool:
    """Return whether the first `HEAD_BYTES` of a file are those of an image."""
    name = detect_format(head)
    return name in READABLE or name in CONVERTIBLE


def _has_dib_header(head: bytes) -> bool:
    """Return whether a file begins as a bitmap without the 14 bytes "BM…" before it."""
    if len(head) < 16:
        return False
    size, planes, bits = struct.unpack_from("<I8xHH", head)
    return size in (40, 52, 56, 64, 108, 124) and planes == 1 and bits in (1, 4, 8, 16, 24, 32)


def _has_pcx_header(head: bytes) -> bool:
    if len(head) < 128:
        return False
    begin, version, encoding, bits = head[:4]
    return (
        (begin, encoding) == (10, 1)
        and version in (0, 2, 3, 4, 5)
        and bits in (1, 2, 4, 8)
        and head[65] in (1, 2, 3, 4)
    )


def _has_sgi_header(head: bytes) -> bool:
    if len(head) < 12:
        return False
    magic, is_packed, sample_bytes, dimensions = struct.unpack_from(">HBBH", head)
    return (
        magic == 474 and is_packed in (0, 1) and sample_bytes in (1, 2) and dimensions in (1, 2, 3)
    )


def _has_tga_header(head: bytes) -> bool:
    """Return whether every number of the header is one that a TGA can have; it has no signature."""
    if len(head) < 18:
        return False
    _, has_palette, kind, first, colours, colour_bits = struct.unpack_from("<BBBHHB", head)
    width, height, bits, flags = struct.unpack_from("<HHBB", head, 12)
    if kind in (1, 9):
        fits = has_palette == 1 and bits == 8 and colours > 0 and colour_bits in (16, 24, 32)
    elif kind in (2, 10):
        fits = bits in (16, 24, 32)
    else:
        fits = kind in (3, 11) and bits in (1, 8, 16)
    has_fitting_palette = (first, colours) == (0, 0) if has_palette == 0 else has_palette == 1
    return fits and has_fitting_palette and width > 0 and height > 0 and flags < 64


# Formats whose header is several numbers with few possible values.
_HEADERS: dict[str, Callable[[bytes], bool]] = {
    "PCX": _has_pcx_header,
    "SGI": _has_sgi_header,
    "DIB": _has_dib_header,
    "TGA": _has_tga_header,
}
