"""What one image file may cost: nothing that lies in a data set may stall the machine or fill it.

Each limit refuses what would take over some three seconds of one core, or over some 650 MB, to
decode; a file lies in memory beside that. Measured with Pillow 13 before there were limits: 64 MB
of EXIF segments took 30 s, a 2 MB icon 1.3 GB, 24 MB of empty PNG chunks 10 s, 2 kB of AVIF 568 MB.
"""

import ctypes
import functools
import io
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import PIL
from PIL import IcoImagePlugin, Image

from pokecam.data.packing import av1
from pokecam.data.sources.formats import HEAD_BYTES, READABLE, kind

MIN_SIDE_PX = 32
GIANT_PX = 16 * 10**6  # more are decoded one at a time, and shrunk at once
MAX_MEGAPIXELS = 100  # of a JPEG, which is decoded shrunk
_MEGAPIXELS = 50
_MEGAPIXELS_OF = {"JPEG": MAX_MEGAPIXELS, "AVIF": 30, "TIFF": 30, "WEBP": 30, "ICO": 4}
# Read before the first pixel: text, profiles, tags; of WebP and AVIF, the whole file.
_HEADER_MIB = 16
_HEADER_MIB_OF = {"TIFF": 6, "WEBP": 32}  # every number in a TIFF's tags becomes an object
_INTERLACED_MEGAPIXELS = 20  # a PNG of seven passes takes twice as long
_JPEG2000_MIB = 16  # 5 MB a second
_MAX_PIECES = 10**6  # a chunk, a segment, a tag are two to four, of up to 3 µs
# Where Pillow loops over pixels in Python: 3 µs each, or up to 0.2 where runs stand for many.
_SLOW_MEGAPIXELS = {"ppm": 0.8, "ppm_plain": 0.8, "bmp_rle": 10}
_MAX_COMMENTS = 1000  # for each, Pillow copies a megabyte
_MAX_SCANS = 1000
_MAX_SCANNED_MEGAPIXELS = 1200  # scans × pixels: 1 to 2 ms each
_PROGRESSIVE_MIB = 32  # 20 MB a second
_MAX_MASK_SAMPLES = 160 * 10**6
_MAX_COEFFICIENT_BYTES = 600 * 10**6  # of all scans, until the last is read
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]", re.DOTALL)
_START_OF_SCAN, _END = 0xDA, 0xD9
_TIFF_TILE = (322, 323)  # width, length
_TIFF_MORE_TAGS = (34665, 34853, 40965)  # EXIF, GPS, interoperability

_one_giant = threading.Lock()
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what else it says is in the reasons


class UnusableError(Exception):
    """This file cannot be used as an image; the message is the reason in plain words."""


class _Metered(io.BytesIO):
    """A file in memory that is not read in too many pieces, nor too far before `begin`."""

    def __init__(self, data: bytes, header_mib: int) -> None:
        super().__init__(data)
        self._header_mib = header_mib
        self._left_bytes: float = header_mib * 2**20
        self._left_pieces = _MAX_PIECES

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._left_bytes -= len(piece)
        self._left_pieces -= 1
        if self._left_bytes < 0:
            raise UnusableError(
                f"too large: more than {self._header_mib} MiB before the first pixel are not read; "
                "save it again as PNG or JPEG"
            )
        if self._left_pieces < 0:
            raise UnusableError(
                "too slow: more than a million pieces; save it again as PNG or JPEG"
            )
        return piece

    def begin(self) -> None:
        """From here on it is pixels that are read, as many as there are."""
        self._left_bytes = float("inf")


def opened(data: bytes) -> tuple[Image.Image, int]:
    """Return the image in a file, not yet decoded, and how many pixels are held at once while
    it is (0: a JPEG that is decoded row by row).

    Raises `UnusableError` for what is too small, too large or too slow, and whatever Pillow
    raises for damaged files.
    """
    found = kind(data[:HEAD_BYTES])
    formats = (found,) if found in READABLE else READABLE
    header_mib = _HEADER_MIB_OF.get(found or "TIFF", _HEADER_MIB)
    if found == "ICO":  # decoded by `open` already, and of another size than it claims
        _check_icon(data)
    file = _Metered(data, header_mib)
    image = Image.open(file, formats=formats)
    _check_size(image)
    jpeg_scans = scans(data) if found == "JPEG" else 0
    _check_scans(image, jpeg_scans, len(data))
    _check_interlaced(image)
    _check_decoder(image, data)
    _check_tiff(image)
    _check_coded(image, data)
    file.begin()
    return image, 0 if jpeg_scans == 1 else image.width * image.height


def opened_mask(data: bytes) -> Image.Image:
    """Return the image in a PNG, not yet decoded: of any size up to 160 million numbers, as
    masks are as large as their images. Raises as `opened` does."""
    file = _Metered(data, _HEADER_MIB)
    image = Image.open(file, formats=["PNG"])
    if image.width * image.height * len(image.getbands()) > _MAX_MASK_SAMPLES:
        raise UnusableError(
            f"{image.width}×{image.height} px are too large: in grey or indexed colours, "
            f"{_MAX_MASK_SAMPLES // 10**6} megapixels are read"
        )
    _check_interlaced(image)
    file.begin()
    return image


@contextmanager
def one_giant(pixels: int) -> Iterator[None]:
    """Wait until no other thread decodes a giant, if this is one."""
    if pixels <= GIANT_PX:
        yield
        return
    with _one_giant:
        yield


def scans(data: bytes) -> int:
    """Return how often a JPEG goes over its pixels, about 10 times if it is progressive; of
    more than `_MAX_SCANS`, the first that are too many."""
    count, at = 0, 2
    while count <= _MAX_SCANS and (marker := _MARKER.search(data, at)):
        code = data[marker.end() - 1]
        if code == _END:
            break
        count += code == _START_OF_SCAN
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return count


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE_PX:
        raise UnusableError(f"too small: {width}×{height} px, at least {MIN_SIDE_PX} px needed")
    most = _MEGAPIXELS_OF.get(image.format or "", _MEGAPIXELS)
    if width * height > most * 10**6:
        raise UnusableError(
            f"too large: {width}×{height} px, at most {most} megapixels are read "
            f"({image.format}; JPEG: {MAX_MEGAPIXELS})"
        )


def _check_interlaced(image: Image.Image) -> None:
    interlaced = image.format == "PNG" and image.info.get("interlace")
    if interlaced and image.width * image.height > _INTERLACED_MEGAPIXELS * 10**6:
        raise UnusableError(
            f"too slow: {image.width}×{image.height} px, interlaced; at most "
            f"{_INTERLACED_MEGAPIXELS} megapixels are read; save it again without"
        )


def _check_decoder(image: Image.Image, data: bytes) -> None:
    if image.format == "JPEG2000" and len(data) > _JPEG2000_MIB * 2**20:
        raise UnusableError(f"too large: at most {_JPEG2000_MIB} MiB are read of a JPEG2000")
    tiles = getattr(image, "tile", None)
    decoder = tiles[0][0] if tiles else ""
    most = _SLOW_MEGAPIXELS.get(decoder, MAX_MEGAPIXELS)
    if image.width * image.height > most * 10**6:
        raise UnusableError(
            f"too slow: {image.width}×{image.height} px, at most {most} megapixels are read of "
            f"a {image.format} of this kind; save it again as PNG"
        )
    if decoder == "ppm_plain" and data.count(b"#") > _MAX_COMMENTS:
        raise UnusableError(f"too slow: more than {_MAX_COMMENTS} comments; save it again as PNG")


def _check_scans(image: Image.Image, number: int, size_bytes: int) -> None:
    pixels = image.width * image.height
    if number > _MAX_SCANS or number * pixels > _MAX_SCANNED_MEGAPIXELS * 10**6:
        raise UnusableError(
            f"too slow: {image.width}×{image.height} px in {number} scans or more; "
            "save it again, not progressive"
        )
    coefficient_bytes = 2 * pixels * len(image.getbands())
    if number > 1 and (
        coefficient_bytes > _MAX_COEFFICIENT_BYTES or size_bytes > _PROGRESSIVE_MIB * 2**20
    ):
        raise UnusableError(
            f"too large: {image.width}×{image.height} px, {size_bytes / 2**20:.0f} MiB, "
            "progressive; save it again, not progressive"
        )


def _check_icon(data: bytes) -> None:
    icon = IcoImagePlugin.IcoFile(_Metered(data, _HEADER_MIB))
    inner = data[icon.entry[0].offset :]
    with Image.open(_Metered(inner, _HEADER_MIB), formats=("PNG", "DIB")) as image:
        if image.width * image.height > _MEGAPIXELS_OF["ICO"] * 10**6:
            raise UnusableError(
                f"too large: an icon of {image.width}×{image.height} px, at most "
                f"{_MEGAPIXELS_OF['ICO']} megapixels are read of an ICO"
            )


def _check_tiff(image: Image.Image) -> None:
    """A tile may be larger than its image; tags may point to more tags, which `load` reads."""
    if image.format != "TIFF":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]
    width, height = (tags.get(tag, 0) for tag in _TIFF_TILE)
    if width * height > _MEGAPIXELS_OF["TIFF"] * 10**6:
        raise UnusableError(
            f"too large: tiles of {width}×{height} px, at most "
            f"{_MEGAPIXELS_OF['TIFF']} megapixels are read of a TIFF"
        )
    _quiet_libtiff()
    exif = image.getexif()
    for tag in _TIFF_MORE_TAGS:
        if tag in exif:
            exif.get_ifd(tag)


def _check_coded(image: Image.Image, data: bytes) -> None:
    """An AVIF is decoded at the size of what is coded in it, whatever size it tells."""
    most = _MEGAPIXELS_OF["AVIF"]
    if image.format == "AVIF" and (coded_px := av1.largest_px(data)) > most * 10**6:
        raise UnusableError(
            f"too large: {coded_px / 10**6:.0f} megapixels are coded in it, at most {most} are "
            "read of an AVIF"
        )


@functools.cache
def _quiet_libtiff() -> None:
    """Pillow silences the warnings of the libtiff that comes with it, but not its errors, which
    it raises as well: without this they would be on the terminal too."""
    for folder in ("pillow.libs", "PIL/.dylibs"):
        for library in Path(PIL.__file__).parents[1].joinpath(folder).glob("libtiff*"):
            with suppress(OSError, AttributeError):  # another build of it: then they stay
                ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
