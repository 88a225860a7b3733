"""From the bytes of any image file to one upright RGB image, or the reason why not."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from pokecam.data.packed.letterbox import draft_size
from pokecam.data.packing import limits
from pokecam.data.packing.limits import UnusableError
from pokecam.data.sources.formats import HEAD_BYTES, READABLE, kind

_STRIP_PX = 2**20  # converted at a time, so that no large image is held twice
_JPEG2000_PX = 12 * 10**6  # more are decoded shrunk: whole, these take two seconds
_FAR = 1e300
_MAX_EXIF_BYTES = 2**20  # one segment of a JPEG has 2**16
_ORIENTATION = 0x0112
_UPRIGHT = {  # EXIF orientation → what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, enough_px: int) -> tuple[Image.Image, int, int]:
    """Return the image in a file, upright and RGB, and its original width and height.

    The format follows from the content, not from a name. Of several frames the first counts;
    EXIF orientation is applied (width and height are those after turning); transparency lies on
    white; 16 bits a channel become 8; colour profiles are ignored. A large JPEG or JPEG 2000, and
    anything of more than `limits.GIANT_PX`, may come back smaller than it is, its longest side
    never below twice `enough_px`. What it may cost: `pokecam.data.packing.limits`.

    Raises `UnusableError` with the reason.
    """
    if not data:
        raise UnusableError("empty file")
    with _told(data):
        image, held_px = limits.opened(data)
        width, height = image.size
        _draft(image, enough_px)
        with limits.one_giant(max(held_px, image.width * image.height)):
            drafted = image.size
            image.load()
            turned = image.size == drafted[::-1]  # a TIFF turns itself
            upright = _rgb(image, enough_px)
        orientation = _orientation(image)
        if orientation in _UPRIGHT:
            upright = upright.transpose(_UPRIGHT[orientation])
    return (upright, height, width) if turned or orientation >= 5 else (upright, width, height)


def decode_mask(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Return the mask in a PNG for an image of this width and height, uint8 (height, width): the
    numbers of an indexed one, 1 where any other is not black or transparent.

    Raises `UnusableError`, whose message goes on from "the mask".
    """
    try:
        image = limits.opened_mask(data)
        if image.size == size:
            with limits.one_giant(image.width * image.height):
                return _mask_values(image)
    except Exception as error:  # damaged bytes make Pillow's readers raise nearly anything
        raise UnusableError(f"is not a readable PNG: {_plain(error)}") from None
    raise UnusableError(
        f"has {image.width}×{image.height} pixels, its image {size[0]}×{size[1]}: "
        "masks are as large as their images"
    )


@contextmanager
def _told(data: bytes) -> Iterator[None]:
    """Turn whatever is raised for these bytes into the reason."""
    try:
        yield
    except UnusableError:
        raise
    except UnidentifiedImageError:
        raise UnusableError(_what_else(data)) from None
    except Image.DecompressionBombError:
        raise UnusableError(
            f"too large: at most {limits.MAX_MEGAPIXELS} megapixels are read"
        ) from None
    except Exception as error:  # damaged bytes make Pillow's readers raise nearly anything
        raise UnusableError(f"truncated or corrupt: {_plain(error)}") from None


def _what_else(data: bytes) -> str:
    """Why Pillow knows no format for these bytes."""
    found = kind(data[:HEAD_BYTES])
    if found in READABLE:
        return f"truncated or corrupt: the header of this {found} cannot be read"
    if found in ("HEIC", "Photoshop"):
        return f"{found} is not read: convert it to JPEG or PNG"
    return f"not an image ({found or 'unknown format'})"


def _plain(error: Exception) -> str:
    """The error in one line, without addresses in memory, which differ from run to run."""
    text = re.sub(r"<[^>]*>", "", " ".join(str(error).split())).strip()
    return text or type(error).__name__


def _draft(image: Image.Image, enough_px: int) -> None:
    """Have a large image decoded smaller, where its format can."""
    width, height = image.size
    image.draft(image.mode, draft_size(image.size, enough_px))
    if image.format == "JPEG2000" and width * height > _JPEG2000_PX:
        shrink = max(1.0, max(width, height) / (2 * enough_px))
        image.reduce = int(math.log2(shrink))  # type: ignore[method-assign, assignment]


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that can be read."""
    if len(image.info.get("exif") or b"") > _MAX_EXIF_BYTES:
        return 1
    try:
        found = image.getexif().get(_ORIENTATION)
    except Exception:  # a damaged EXIF block is no reason to lose the image
        return 1
    return found if isinstance(found, int) and found in _UPRIGHT else 1


def _strips(image: Image.Image, rows_of: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield (top row, rows from there on), a multiple of `rows_of` each time but the last."""
    rows = rows_of * max(1, _STRIP_PX // (image.width * rows_of))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _rgb(image: Image.Image, enough_px: int) -> Image.Image:
    """The image in RGB; of a giant, squares of pixels averaged into one."""
    giant = image.width * image.height > limits.GIANT_PX
    side = max(1, max(image.size) // (2 * enough_px)) if giant else 1
    brightest = _brightest(image) if image.mode == "F" else 0.0
    result = Image.new("RGB", (-(-image.width // side), -(-image.height // side)))
    try:
        for top, strip in _strips(image, side):
            result.paste(_rgb_on_white(strip, brightest).reduce(side), (0, top // side))
    except ValueError:
        raise UnusableError(f"colours of a kind that is not read ({image.mode})") from None
    return result


def _rgb_on_white(image: Image.Image, brightest: float) -> Image.Image:
    """Raises `ValueError` for a colour mode that has no way to RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(image, brightest).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    over = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(over, mask=over.getchannel("A"))
    return white


def _brightest(image: Image.Image) -> float:
    """The largest number in an image of floats."""
    return max(float(_numbers(strip).max()) for _, strip in _strips(image))


def _numbers(image: Image.Image) -> np.ndarray:
    """The numbers of an image: NaN as 0, infinity so that 255 times as much is still a number."""
    with np.errstate(invalid="ignore"):  # not every bit pattern is a number
        values = np.asarray(image, dtype=np.float64)
    return np.nan_to_num(values, posinf=_FAR, neginf=-_FAR)


def _eight_bit(image: Image.Image, brightest: float) -> Image.Image:
    """Greyscale of 16 bits (0 … 65535) or floats (0 … 1, or 0 … 255 if any is larger) as 8 bits.

    Pillow's own conversion cuts off at 255 instead of scaling.
    """
    values = _numbers(image)
    if image.mode != "F":
        values = values / 257
    elif brightest <= 1:
        values = values * 255
    return Image.fromarray(np.rint(values.clip(0, 255)).astype(np.uint8))


def _mask_values(image: Image.Image) -> np.ndarray:
    """See `decode_mask`."""
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
