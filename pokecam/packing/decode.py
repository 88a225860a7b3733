"""From the bytes of any picture file to one upright RGB picture, or the reason why not."""

import io
import re
from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pokecam.formats import HEAD_BYTES, READABLE, kind

MIN_SIDE_PX = 32
MAX_MEGAPIXELS = 100  # 400 MB while such a picture is decoded


class UnusableError(Exception):
    """This file cannot be used as a picture; the message is the reason in plain words."""


def decode(data: bytes, enough_px: int) -> tuple[Image.Image, int, int]:
    """Return the picture in a file, upright and RGB, and its original width and height.

    The format follows from the content, not from a name. Of several frames the first counts;
    EXIF orientation is applied (width and height are those after turning); transparency lies on
    white; 16 bits a channel become 8; colour profiles are ignored. A large JPEG may come back
    smaller than it is, its longest side never below twice `enough_px`.

    Raises `UnusableError` with the reason.
    """
    image, width, height = _load(data, enough_px)
    try:
        return _rgb_on_white(image), width, height
    except ValueError:
        raise UnusableError(f"colours of a kind that is not read ({image.mode})") from None


def _load(data: bytes, enough_px: int) -> tuple[Image.Image, int, int]:
    """Return the upright picture in its own colours, and its original width and height."""
    if not data:
        raise UnusableError("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=READABLE)
        width, height = image.size
        _check_size(width, height)
        shrink = max(1.0, max(width, height) / (2 * enough_px))
        image.draft(image.mode, (max(1, int(width / shrink)), max(1, int(height / shrink))))
        decoded_size = image.size
        image.load()
    except UnusableError:
        raise
    except UnidentifiedImageError:
        raise UnusableError(_what_else(data)) from None
    except Image.DecompressionBombError:
        raise UnusableError(f"too large: at most {MAX_MEGAPIXELS} megapixels are read") from None
    except Exception as error:  # damaged bytes make Pillow's readers raise nearly anything
        raise UnusableError(f"truncated or corrupt: {_plain(error)}") from None
    with suppress(Exception):  # a damaged EXIF block is no reason to lose the picture
        ImageOps.exif_transpose(image, in_place=True)
    turned = image.size != decoded_size
    return (image, height, width) if turned else (image, width, height)


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE_PX:
        raise UnusableError(f"too small: {width}×{height} px, at least {MIN_SIDE_PX} px needed")
    if width * height > MAX_MEGAPIXELS * 10**6:
        raise UnusableError(
            f"too large: {width}×{height} px, at most {MAX_MEGAPIXELS} megapixels are read"
        )


def _what_else(data: bytes) -> str:
    """Why Pillow knows no format for these bytes."""
    found = kind(data[:HEAD_BYTES])
    if found in READABLE:
        return f"truncated or corrupt: the header of this {found} cannot be read"
    if found in ("HEIC", "Photoshop"):
        return f"{found} is not read: convert it to JPEG or PNG"
    return f"not a picture ({found or 'unknown format'})"


def _plain(error: Exception) -> str:
    """The error in one line, without addresses in memory, which differ from run to run."""
    text = re.sub(r"<[^>]*>", "", " ".join(str(error).split())).strip()
    return text or type(error).__name__


def _rgb_on_white(image: Image.Image) -> Image.Image:
    """Raises `ValueError` for a colour mode that has no way to RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    over = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(over, mask=over.getchannel("A"))
    return white


def _eight_bit(image: Image.Image) -> Image.Image:
    """Greyscale of 16 bits (0 … 65535) or floats (0 … 1, or 0 … 255 if any is larger) as 8 bits.

    Pillow's own conversion cuts off at 255 instead of scaling.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode != "F":
        values = values / 257
    elif values.max() <= 1:
        values = values * 255
    return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))
