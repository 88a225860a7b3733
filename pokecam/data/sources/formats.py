"""The format of a file by its first bytes, and the endings that image files have."""

# Formats that Pillow reads well and without another program (EPS would start Ghostscript).
READABLE = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

# (offset, bytes at this offset, format)
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"Rar!", "RAR"),
)
_OTHER_FORMATS = {"PDF", "PostScript", "ZIP", "gzip", "RAR", "HTML"}

_ENDINGS = tuple(
    f".{ending}"
    for endings in (
        "avif avifs bmp dib gif heic heif hif ico j2k jfif jp2 jpe jpeg jpg jpx pbm",
        "pgm png apng pnm ppm psd svg svgz tga tif tiff webp",
    )
    for ending in endings.split()
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
    text = head[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "HTML"
    if text.startswith(b"<") and b"<svg" in text:
        return "SVG"
    return None


def has_image_ending(name: str) -> bool:
    """Return whether a file name ends as those of images do."""
    return name.lower().endswith(_ENDINGS)


def has_image_content(head: bytes) -> bool:
    """Return whether the first `HEAD_BYTES` of a file are those of an image."""
    name = detect_format(head)
    return name is not None and name not in _OTHER_FORMATS
