"""How much time and memory one image file may cost, so that no file of a data set stops the run.

Each limit refuses files that would take more than about three seconds of one core, or about 650 MB,
to decode. The file itself is in memory too. Without the limits Pillow 13 took 30 s for 64 MB of
EXIF segments, 1.3 GB for an icon of 2 MB, 10 s for 24 MB of empty PNG chunks, and 568 MB for an
AVIF of 2 kB.
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
from PIL import IcnsImagePlugin, IcoImagePlugin, Image, PngImagePlugin, UnidentifiedImageError

from pokecam.data.packing import av1
from pokecam.data.sources.formats import CONVERTIBLE, HEAD_BYTES, READABLE, detect_format

MIN_SIDE_PX = 32
GIANT_PX = 16 * 10**6  # larger images are decoded one at a time, and shrunk at once
MAX_MEGAPIXELS = 100  # of a JPEG, which is decoded at a smaller size
_MEGAPIXELS = 50  # of the formats that are not listed below
_MEGAPIXELS_OF = {"JPEG": MAX_MEGAPIXELS, "AVIF": 30, "TIFF": 30, "WEBP": 30, "ICO": 4, "ICNS": 4}
# What is read before the first pixel: text, profiles and tags; of WebP and AVIF the whole file.
_HEADER_MIB = 16
_HEADER_MIB_OF = {"TIFF": 6, "WEBP": 32}  # every number in the tags of a TIFF becomes an object
_INTERLACED_MEGAPIXELS = 20  # a PNG in seven passes takes twice as long
_JPEG2000_MIB = 16  # decoded at 5 MB a second
_MAX_READS = 10**6  # up to 3 µs each; a chunk, a segment or a tag takes two to four
_MAX_ICON_READS = 1000  # an icon of macOS has about 10 images
# By Pillow's decoders that loop over pixels in Python: 3 µs a pixel, 5 µs for DDS; 0.2 µs or less
# with long runs.
_SLOW_MEGAPIXELS = {"ppm": 0.8, "ppm_plain": 0.8, "bmp_rle": 10, "qoi": 0.8, "dds_rgb": 0.5}
_READS_BY_PIXEL = ("qoi", "dds_rgb")
# Bits of a pixel and masks of its channels in a DDS → the same for the decoder in C.
_DDS_RAW_MODES = {
    (24, (0xFF0000, 0xFF00, 0xFF)): "BGR",
    (24, (0xFF, 0xFF00, 0xFF0000)): "RGB",
    (32, (0xFF0000, 0xFF00, 0xFF)): "BGRX",
    (32, (0xFF, 0xFF00, 0xFF0000)): "RGBX",
    (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)): "BGRA",
    (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)): "RGBA",
}
# Every file can be read as one of these: only those that have the whole header are.
_WITHOUT_SIGNATURE = ("DIB", "TGA")
_MAX_COMMENTS = 1000  # Pillow copies a megabyte for each
_MAX_SCANS = 1000
_MAX_SCANNED_MEGAPIXELS = 1200  # scans × megapixels, 1 to 2 ms each
_PROGRESSIVE_MIB = 32  # decoded at 20 MB a second
_MAX_MASK_SAMPLES = 160 * 10**6  # pixels × channels
_MAX_COEFFICIENT_BYTES = 600 * 10**6  # the coefficients are in memory until the last scan is read
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]", re.DOTALL)
_START_OF_SCAN, _END = 0xDA, 0xD9
_TIFF_TILE = (322, 323)  # the tags of width and length
_TIFF_KIND, _PREVIEW = 254, 1
_TIFF_TAG_BLOCKS = (34665, 34853, 40965)  # the tags of EXIF, GPS, interoperability

# One text in a PNG may be as large as all of them together, which Pillow limits too.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
_TEXT_MIB = PngImagePlugin.MAX_TEXT_MEMORY >> 20

_giant_lock = threading.Lock()
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # the reasons say what its log would


class UnusableError(Exception):
    """A file cannot be used as an image; the message is the reason in plain words."""


class _MeteredFile(io.BytesIO):
    """A file in memory that limits how often it is read, and how much is read before the pixels.

    Args:
        data: its bytes.
        header_mib: how many MiB may be read before `begin_pixels`.
        reads: how often it may be read.
    """

    def __init__(self, data: bytes, header_mib: int, reads: int = _MAX_READS) -> None:
        super().__init__(data)
        self._header_mib = header_mib
        self._remaining_bytes: float = header_mib * 2**20
        self._remaining_reads: float = reads

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._remaining_bytes -= len(piece)
        self._remaining_reads -= 1
        if self._remaining_bytes < 0:
            raise UnusableError(
                f"too large: more than {self._header_mib} MiB before the first pixel; save it "
                "again as PNG or JPEG"
            )
        if self._remaining_reads < 0:
            raise UnusableError("too slow: too many pieces; save it again as PNG or JPEG")
        return piece

    def begin_pixels(self, decoder: str = "") -> None:
        """End the limit on bytes, and that on reads for a decoder that reads pixel by pixel: from
        here on pixels are read, and their number is limited."""
        self._remaining_bytes = float("inf")
        if decoder in _READS_BY_PIXEL:
            self._remaining_reads = float("inf")


def open_image(data: bytes) -> tuple[Image.Image, int]:
    """Open the image in a file without decoding it.

    Args:
        data: the bytes of the file.

    Returns:
        The image, and how many pixels are in memory together while it is decoded (0 for a JPEG
        that is decoded row by row).

    Raises:
        UnusableError: the image is too small, too large or too slow to decode.
        Exception: Pillow raises nearly anything for a damaged file.
    """
    file_format = detect_format(data[:HEAD_BYTES])
    if file_format in CONVERTIBLE and file_format != "HEIC":  # an AVIF can begin as a HEIC does
        raise UnidentifiedImageError
    formats = [name for name in READABLE if name not in _WITHOUT_SIGNATURE]
    if file_format in READABLE:
        formats = [file_format]
    header_mib = _HEADER_MIB_OF.get(file_format or "TIFF", _HEADER_MIB)
    # The real size of an icon is not the one in its header, and `open` or `load` decodes all of it.
    if file_format == "ICO":
        _check_icon(data)
    elif file_format == "ICNS":
        _check_mac_icon(data)
    file = _MeteredFile(data, header_mib)
    image = Image.open(file, formats=formats)
    _check_size(image)
    jpeg_scans = count_scans(data) if file_format == "JPEG" else 0
    _check_scans(image, jpeg_scans, len(data))
    _check_interlaced(image)
    _decode_dds_in_c(image)
    _check_decoder(image, data)
    _check_tiff(image)
    _check_coded(image, data)
    file.begin_pixels(_decoder(image))
    return image, 0 if jpeg_scans == 1 else image.width * image.height


def open_mask(data: bytes) -> Image.Image:
    """Open the mask in a PNG without decoding it.

    A mask is as large as its image: its size is limited to 160 million values, pixels times
    channels.

    Raises:
        UnusableError: the mask is too large.
        Exception: Pillow raises nearly anything for a damaged file.
    """
    file = _MeteredFile(data, _HEADER_MIB)
    image = Image.open(file, formats=["PNG"])
    if image.width * image.height * len(image.getbands()) > _MAX_MASK_SAMPLES:
        raise UnusableError(
            f"{image.width}×{image.height} px are too large: at most "
            f"{_MAX_MASK_SAMPLES // 10**6} megapixels are read, in grey or indexed colours"
        )
    _check_interlaced(image)
    file.begin_pixels()
    return image


@contextmanager
def one_giant(pixels: int) -> Iterator[None]:
    """Let only one thread at a time decode an image of more than `GIANT_PX`."""
    if pixels <= GIANT_PX:
        yield
        return
    with _giant_lock:
        yield


def count_scans(data: bytes) -> int:
    """Count the scans of a JPEG: 1 if it is baseline, about 10 if it is progressive.

    Counting stops at `_MAX_SCANS` + 1.
    """
    count, at = 0, 2
    while count <= _MAX_SCANS and (marker := _MARKER.search(data, at)):
        code = data[marker.end() - 1]
        if code == _END:
            break
        count += code == _START_OF_SCAN
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return count


def check_least(image: Image.Image) -> None:
    """Check that no side of an image is below `MIN_SIDE_PX`.

    Raises:
        UnusableError: it is too small.
    """
    width, height = image.size
    if min(width, height) < MIN_SIDE_PX:
        raise UnusableError(f"too small: {width}×{height} px, at least {MIN_SIDE_PX} px needed")


def _check_size(image: Image.Image) -> None:
    check_least(image)
    width, height = image.size
    megapixels = _MEGAPIXELS_OF.get(image.format or "", _MEGAPIXELS)
    if width * height > megapixels * 10**6:
        raise UnusableError(
            f"too large: {width}×{height} px, at most {megapixels} megapixels are read "
            f"({image.format}; JPEG: {MAX_MEGAPIXELS})"
        )


def _check_interlaced(image: Image.Image) -> None:
    is_interlaced = image.format == "PNG" and image.info.get("interlace")
    if is_interlaced and image.width * image.height > _INTERLACED_MEGAPIXELS * 10**6:
        raise UnusableError(
            f"too slow: {image.width}×{image.height} px, interlaced; at most "
            f"{_INTERLACED_MEGAPIXELS} megapixels are read; save it again, not interlaced"
        )


def _check_decoder(image: Image.Image, data: bytes) -> None:
    if image.format == "JPEG2000" and len(data) > _JPEG2000_MIB * 2**20:
        raise UnusableError(f"too large: at most {_JPEG2000_MIB} MiB are read of a JPEG2000")
    decoder = _decoder(image)
    megapixels = _SLOW_MEGAPIXELS.get(decoder, MAX_MEGAPIXELS)
    if image.width * image.height > megapixels * 10**6:
        raise UnusableError(
            f"too slow: {image.width}×{image.height} px, at most {megapixels} megapixels are read "
            f"of a {image.format} of this kind; save it again as PNG"
        )
    if decoder == "ppm_plain" and data.count(b"#") > _MAX_COMMENTS:
        raise UnusableError(f"too slow: more than {_MAX_COMMENTS} comments; save it again as PNG")


def _decoder(image: Image.Image) -> str:
    """Return the name of the decoder of the pixels; "" if Pillow uses none of its own."""
    tiles = getattr(image, "tile", None)
    return tiles[0][0] if tiles else ""


def _decode_dds_in_c(image: Image.Image) -> None:
    """Let the decoder in C read the usual orders of bytes of a DDS that is not compressed."""
    if _decoder(image) == "dds_rgb":
        (tile,) = image.tile  # type: ignore[attr-defined]
        if raw_mode := _DDS_RAW_MODES.get(tile.args):
            image.tile = [tile._replace(codec_name="raw", args=raw_mode)]  # type: ignore[attr-defined]


def _check_scans(image: Image.Image, scans: int, size_bytes: int) -> None:
    pixels = image.width * image.height
    if scans > _MAX_SCANS or scans * pixels > _MAX_SCANNED_MEGAPIXELS * 10**6:
        raise UnusableError(
            f"too slow: {image.width}×{image.height} px in {scans} scans or more; "
            "save it again, not progressive"
        )
    coefficient_bytes = 2 * pixels * len(image.getbands())
    if scans > 1 and (
        coefficient_bytes > _MAX_COEFFICIENT_BYTES or size_bytes > _PROGRESSIVE_MIB * 2**20
    ):
        raise UnusableError(
            f"too large: {image.width}×{image.height} px, {size_bytes / 2**20:.0f} MiB, "
            "progressive; save it again, not progressive"
        )


def _check_icon(data: bytes) -> None:
    icon = IcoImagePlugin.IcoFile(_MeteredFile(data, _HEADER_MIB))
    inner = data[icon.entry[0].offset :]
    with Image.open(_MeteredFile(inner, _HEADER_MIB), formats=("PNG", "DIB")) as image:
        _check_icon_size(image, "ICO")


def _check_mac_icon(data: bytes) -> None:
    """Check the size of every PNG and JPEG 2000 in an icon of macOS."""
    icon = IcnsImagePlugin.IcnsFile(_MeteredFile(data, _HEADER_MIB, _MAX_ICON_READS))
    for start, length in icon.dct.values():
        inner = data[start : start + length]
        if detect_format(inner[:HEAD_BYTES]) in ("PNG", "JPEG2000"):
            with Image.open(_MeteredFile(inner, _HEADER_MIB), formats=("PNG", "JPEG2000")) as image:
                _check_icon_size(image, "ICNS")


def _check_icon_size(image: Image.Image, file_format: str) -> None:
    megapixels = _MEGAPIXELS_OF[file_format]
    if image.width * image.height > megapixels * 10**6:
        raise UnusableError(
            f"too large: an icon of {image.width}×{image.height} px, at most {megapixels} "
            f"megapixels are read of an {file_format}"
        )


def _check_tiff(image: Image.Image) -> None:
    """Check what the size of a TIFF does not say.

    A tile may be larger than the image. Tags may point to more tags, which `load` reads.
    """
    if image.format != "TIFF":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]
    if tags.get(_TIFF_KIND) == _PREVIEW:
        raise UnusableError(
            "its first image is only a preview, as in the raw file of a camera: convert it to JPEG "
            "or PNG"
        )
    width, height = (tags.get(tag, 0) for tag in _TIFF_TILE)
    if width * height > _MEGAPIXELS_OF["TIFF"] * 10**6:
        raise UnusableError(
            f"too large: tiles of {width}×{height} px, at most "
            f"{_MEGAPIXELS_OF['TIFF']} megapixels are read of a TIFF"
        )
    _silence_libtiff()
    exif = image.getexif()
    for tag in _TIFF_TAG_BLOCKS:
        if tag in exif:
            exif.get_ifd(tag)


def _check_coded(image: Image.Image, data: bytes) -> None:
    """Check the size at which an AVIF is decoded, which may not be the size in its header."""
    megapixels = _MEGAPIXELS_OF["AVIF"]
    if image.format == "AVIF" and (coded_px := av1.largest_px(data)) > megapixels * 10**6:
        raise UnusableError(
            f"too large: {coded_px / 10**6:.0f} megapixels are coded in it, at most {megapixels} "
            "are read of an AVIF"
        )


def text_reason(error: Exception) -> str | None:
    """Return the reason if Pillow refuses the texts or the profile of a PNG for their size."""
    if "MAX_TEXT" not in str(error):
        return None
    return f"too large: more than {_TEXT_MIB} MiB of text in a PNG; save it again without its text"


@functools.cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing errors to the terminal.

    Pillow raises these errors as well. It silences only the warnings of the libtiff in its wheel.
    """
    for folder in ("pillow.libs", "PIL/.dylibs"):
        for library in Path(PIL.__file__).parents[1].joinpath(folder).glob("libtiff*"):
            with suppress(OSError, AttributeError):  # another build of libtiff
                ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
