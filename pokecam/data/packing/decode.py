"""Decode the bytes of any image file to an upright RGB image, or say why they cannot be used."""

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from pokecam.common.errors import plain_text
from pokecam.data.packed.letterbox import draft_size
from pokecam.data.packing import limits
from pokecam.data.packing.limits import UnusableError
from pokecam.data.sources.formats import CONVERTIBLE, HEAD_BYTES, READABLE, detect_format

_STRIP_PX = 2**20  # pixels converted at a time, so that no large image is in memory twice
_JPEG2000_PX = 12 * 10**6  # larger ones are decoded at a smaller size: this many take two seconds
_INFINITY = 1e300  # in place of infinity; 255 times as much is still a finite number
_MAX_EXIF_BYTES = 2**20  # one segment of a JPEG has 2**16
_ORIENTATION = 0x0112
_UNSURE_ALPHA = ("DDS", "TGA")
_TO_UPRIGHT = {  # EXIF orientation → the operation that makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, enough_px: int) -> tuple[Image.Image, int, int]:
    """Decode the image in a file.

    The format follows from the content, not from the name of the file. Of several frames the first
    is used. The EXIF orientation is applied, transparent pixels are put on white, 16 bits a channel
    become 8, and colour profiles are ignored. `limits` says what decoding may cost.

    Args:
        data: the bytes of the file.
        enough_px: the side of the square that the image is letterboxed to. A large JPEG or
            JPEG 2000, and any image of more than `limits.GIANT_PX`, may be returned smaller than
            it is; its longest side is never less than twice this.

    Returns:
        The upright RGB image, and the width and height in px of the original when it is upright.

    Raises:
        UnusableError: the file cannot be used; the message is the reason.
    """
    if not data:
        raise UnusableError("empty file")
    with _raising_reasons(data):
        image, held_px = limits.open_image(data)
        width, height = image.size
        _draft(image, enough_px)
        with limits.one_giant(max(held_px, image.width * image.height)):
            expected_size = image.size
            image.load()
            image = _without_empty_alpha(image)
            is_swapped = image.size == expected_size[::-1]  # Pillow turns a TIFF itself
            upright = _to_rgb(image, enough_px)
        orientation = _read_orientation(image)
        if orientation in _TO_UPRIGHT:
            upright = upright.transpose(_TO_UPRIGHT[orientation])
    is_swapped = is_swapped or orientation >= 5
    return (upright, height, width) if is_swapped else (upright, width, height)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow from warning of sizes and of damaged EXIF: `decode` checks both.

    Warnings are a matter of the process. Where several threads decode, enter this before them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def upright_rgb(image: Image.Image, enough_px: int) -> Image.Image:
    """Convert an image in memory, as `decode` converts that of a file.

    Args:
        image: of any size and colour mode.
        enough_px: as in `decode`.

    Raises:
        UnusableError: it is too small, or its file is damaged; the message is the reason.
    """
    with _raising_reasons(b""):
        limits.check_least(image)
        image.load()
        upright = _to_rgb(image, enough_px)
    orientation = _read_orientation(image)
    return upright.transpose(_TO_UPRIGHT[orientation]) if orientation in _TO_UPRIGHT else upright


def decode_mask(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode the mask of an image.

    Args:
        data: the bytes of a PNG.
        size: width and height of the upright image, in px.

    Returns:
        uint8 (height, width): the indices of an indexed PNG; of any other, 1 where it is neither
        black nor transparent, and 0 elsewhere.

    Raises:
        UnusableError: the mask cannot be used; the message is a predicate of "the mask".
    """
    try:
        image = limits.open_mask(data)
        if image.size == size:
            with limits.one_giant(image.width * image.height):
                return _mask_values(image)
    except Exception as error:  # damaged bytes make Pillow's readers raise nearly anything
        raise UnusableError(f"is not a readable PNG: {_one_line(error)}") from None
    raise UnusableError(
        f"has {image.width}×{image.height} pixels, its image {size[0]}×{size[1]}: "
        "a mask must be as large as its image"
    )


@contextmanager
def _raising_reasons(data: bytes) -> Iterator[None]:
    """Convert every exception raised for these bytes to an `UnusableError` with the reason."""
    try:
        yield
    except UnusableError:
        raise
    except UnidentifiedImageError:
        raise UnusableError(_unidentified_reason(data)) from None
    except Image.DecompressionBombError:
        raise UnusableError(
            f"too large: at most {limits.MAX_MEGAPIXELS} megapixels are read"
        ) from None
    except Exception as error:  # damaged bytes make Pillow's readers raise nearly anything
        reason = limits.text_reason(error) or f"truncated or corrupt: {_one_line(error)}"
        raise UnusableError(reason) from None


def _unidentified_reason(data: bytes) -> str:
    """Return the reason why Pillow does not recognise the format of these bytes."""
    file_format = detect_format(data[:HEAD_BYTES])
    if file_format in READABLE:
        return f"truncated or corrupt: the header of this {file_format} cannot be read"
    if file_format in CONVERTIBLE:
        return f"{file_format} is not read: convert it to JPEG or PNG"
    return f"not an image ({file_format or 'or its format is unknown'})"


def _one_line(error: Exception) -> str:
    """Return the message in one line, without memory addresses, which differ between runs."""
    text = re.sub(r"<[^>]*>", "", " ".join(plain_text(str(error)).split())).strip()
    return text or type(error).__name__


def _draft(image: Image.Image, enough_px: int) -> None:
    """Let a large image be decoded at a smaller size, where its format can do that."""
    width, height = image.size
    image.draft(image.mode, draft_size(image.size, enough_px))
    if image.format == "JPEG2000" and width * height > _JPEG2000_PX:
        shrink = max(1.0, max(width, height) / (2 * enough_px))
        image.reduce = int(math.log2(shrink))  # type: ignore[method-assign, assignment]


def _without_empty_alpha(image: Image.Image) -> Image.Image:
    """Return an image without its alpha channel, where that is 0 everywhere and the format makes
    it likely that it is no transparency: many programs leave the fourth byte of a pixel at 0."""
    has_alpha = image.format in _UNSURE_ALPHA and image.mode == "RGBA"
    if has_alpha and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return image


def _read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, or 1 where none can be read."""
    if len(image.info.get("exif") or b"") > _MAX_EXIF_BYTES:
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # a damaged EXIF block does not make the image unusable
        return 1
    return orientation if isinstance(orientation, int) and orientation in _TO_UPRIGHT else 1


def _strips(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield (top row, strip) from top to bottom.

    The number of rows of each strip is a multiple of `multiple`, except that of the last.
    """
    rows = multiple * max(1, _STRIP_PX // (image.width * multiple))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _to_rgb(image: Image.Image, enough_px: int) -> Image.Image:
    """Convert an image to RGB; squares of pixels of a giant image become their means."""
    is_giant = image.width * image.height > limits.GIANT_PX
    side = max(1, max(image.size) // (2 * enough_px)) if is_giant else 1
    maximum = _maximum(image) if image.mode == "F" else 0.0
    result = Image.new("RGB", (-(-image.width // side), -(-image.height // side)))
    try:
        for top, strip in _strips(image, side):
            result.paste(_on_white(strip, maximum).reduce(side), (0, top // side))
    except ValueError:
        raise UnusableError(f"its colour mode is not read ({image.mode})") from None
    return result


def _on_white(image: Image.Image, maximum: float) -> Image.Image:
    """Convert an image to RGB, with transparent pixels on white.

    Raises `ValueError` for a colour mode that cannot be converted to RGB.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bits(image, maximum).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    result = Image.new("RGB", image.size, "white")
    result.paste(rgba, mask=rgba.getchannel("A"))
    return result


def _maximum(image: Image.Image) -> float:
    """Return the largest value in an image of floats."""
    return max(float(_finite_values(strip).max()) for _, strip in _strips(image))


def _finite_values(image: Image.Image) -> np.ndarray:
    """Return the values of an image, with 0 for NaN and ±`_INFINITY` for ±infinity."""
    with np.errstate(invalid="ignore"):  # NumPy warns of signalling NaNs
        values = np.asarray(image, dtype=np.float64)
    return np.nan_to_num(values, posinf=_INFINITY, neginf=-_INFINITY)


def _to_8_bits(image: Image.Image, maximum: float) -> Image.Image:
    """Convert greyscale of 16 bits or floats to 8 bits.

    16 bits reach from 0 to 65535. Floats reach from 0 to 1, or from 0 to 255 if `maximum`, that of
    the whole image, is more than 1. Pillow's own conversion does not scale, but cuts off at 255.
    """
    values = _finite_values(image)
    if image.mode != "F":
        values = values / 257
    elif maximum <= 1:
        values = values * 255
    return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))


def _mask_values(image: Image.Image) -> np.ndarray:
    """Return the values of the mask that `decode_mask` describes."""
    mask = np.empty((image.height, image.width), np.uint8)
    for top, strip in _strips(image):
        values = np.asarray(strip)
        if image.mode != "P":
            channels = values.reshape(*values.shape[:2], -1).astype(bool)
            if image.mode in ("LA", "RGBA"):
                channels = channels[..., :-1] & channels[..., -1:]
            values = np.any(channels, axis=-1)
        mask[top : top + strip.height] = values
    return mask
