"""Damaged images of every format, by number.

    python -m tests.data.packing.fuzz image 0:300   # judge cases 0 to 299, in this process

The same number always gives the same file: `case(17, seeds())` builds the file of case 17 again.
"""

import faulthandler
import json
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from pokecam.common.errors import InputError
from pokecam.data.packed.letterbox import fit
from pokecam.data.packing.decode import UnusableError, decode
from pokecam.data.packing.pack import _pack_mask
from pokecam.data.packing.tables import PackedRow
from tests.support.images import encoded, patches
from tests.support.memory import peak_bytes

WIDTH, HEIGHT = 64, 48
MAX_SECONDS = (
    20  # a hang takes for ever; a busy machine may take several times as long as a free one
)
MAX_BYTES = 10**9
SIZES = (0, 1, 31, 32, 33, 255, 1000, 4000, 8191, 16384, 65535, 2**31 - 1, 2**32 - 1)
MODES = {
    "AVIF": ["L", "RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "DDS": ["L", "LA", "RGB", "RGBA"],
    "DIB": ["1", "L", "P", "RGB", "RGBA"],
    "GIF": ["L", "P"],
    "ICNS": ["L", "RGB", "RGBA"],
    "ICO": ["1", "L", "P", "RGB", "RGBA"],
    "JPEG": ["L", "RGB", "CMYK"],
    "JPEG2000": ["L", "LA", "RGB", "RGBA", "I;16"],
    "PCX": ["1", "L", "P", "RGB"],
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "PPM": ["1", "L", "RGB", "I;16", "F"],
    "QOI": ["RGB", "RGBA"],
    "SGI": ["L", "RGB", "RGBA"],
    "TGA": ["1", "L", "LA", "P", "RGB", "RGBA"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I", "F"],
    "WEBP": ["RGB", "RGBA"],
}


def in_mode(mode: str) -> Image.Image:
    """Return a small image in a mode of Pillow."""
    image = patches(1, WIDTH, HEIGHT)
    if mode == "LAB":
        return Image.merge("LAB", image.split())
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "P":
        return image.quantize(40)
    if mode in ("RGBA", "LA"):
        image.putalpha(patches(2, WIDTH, HEIGHT).convert("L"))
    return image.convert(mode)


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    crc = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def png(width: int, height: int, rows: bytes, *, kind: int = 2, extra=b"", interlaced=0) -> bytes:
    """Return a PNG of 8 bits with these rows, which need not fit its width and height."""
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def interlaced_png() -> bytes:
    """Return an interlaced PNG, which Pillow cannot write.

    Its seven passes are (left, top, step across, step down).
    """
    pixels = np.asarray(patches(1, WIDTH, HEIGHT))
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    rows = b"".join(
        b"\0" + row.tobytes()
        for left, top, across, down in (*passes, (0, 1, 1, 2))
        for row in pixels[top::down, left::across]
    )
    return png(WIDTH, HEIGHT, rows, interlaced=1)


def tiff(tags: dict[int, tuple[int, int, int]], blob: bytes = b"") -> bytes:
    """Return a TIFF of tag → (type, count, value).

    A value below 0 is an offset in `blob`; -1 is its first byte.
    """
    blob_at = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, kind, count, value if value >= 0 else blob_at - 1 - value)
        for tag, (kind, count, value) in sorted(tags.items())
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + bytes(4) + blob


def grey_tiff(width: int, height: int, **tags_to_add: tuple[int, int, int]) -> dict:
    """Return the tags of an 8-bit greyscale TIFF whose pixels begin the blob; t322=… adds a tag."""
    tags = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1)}
    tags |= {262: (3, 1, 1), 273: (4, 1, -1), 277: (3, 1, 1), 279: (4, 1, width * height)}
    return tags | {int(name[1:]): value for name, value in tags_to_add.items()}


def tiled_tiff() -> bytes:
    pixels = np.asarray(in_mode("L"))
    tiles = b"".join(
        pixels[top : top + 16, left : left + 16].tobytes()
        for top in range(0, HEIGHT, 16)
        for left in range(0, WIDTH, 16)
    )
    count = len(tiles) // 256
    numbers = struct.pack(f"<{count}I", *[256] * count)
    tags = grey_tiff(WIDTH, HEIGHT, t322=(3, 1, 16), t323=(3, 1, 16))
    tags |= {325: (4, count, -1), 324: (4, count, -1 - len(numbers))}
    del tags[273], tags[279]
    blob_at = 8 + 2 + 12 * len(tags) + 4
    first = blob_at + 2 * len(numbers)
    offsets = struct.pack(f"<{count}I", *range(first, first + len(tiles), 256))
    return tiff(tags, numbers + offsets + tiles)


def rle_bmp(
    runs: bytes = (b"\x40\3\0\0" * 40 + b"\x20\5\x20\7\0\0" * 8), side: int = HEIGHT
) -> bytes:
    """Return a run-length encoded bitmap of 64 pixels in width."""
    palette = bytes(value for i in range(256) for value in (i, 0, 255 - i, 0))
    start = 14 + 40 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs


def icon_of(inner: bytes) -> bytes:
    """Return an icon whose header says 64 × 64, whatever it contains."""
    entry = struct.pack("<BBBBHHII", 64, 64, 0, 0, 1, 32, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


def sgi_rle() -> bytes:
    """Return a run-length encoded SGI in grey, which Pillow cannot write."""
    row = b"\x20\3" + b"\xa0" + bytes(range(32)) + b"\0"  # 32 times 3, 32 values, the end
    head = struct.pack(">HBBHHHH", 474, 1, 1, 2, WIDTH, HEIGHT, 1) + struct.pack(">II", 0, 255)
    starts = struct.pack(f">{HEIGHT}I", *[512 + 8 * HEIGHT] * HEIGHT)
    lengths = struct.pack(f">{HEIGHT}I", *[len(row)] * HEIGHT)
    return head.ljust(512, b"\0") + starts + lengths + row


def dds(width: int, height: int, bits: int, masks: tuple[int, ...]) -> bytes:
    """Return a DDS, not compressed, of zeros, whose channels lie anywhere in a pixel."""
    kind = 0x41 if len(masks) == 4 else 0x40  # RGB, with alpha
    head = struct.pack("<7I44x", 124, 0x100F, height, width, 0, 0, 0)
    pixel_format = struct.pack("<IIII4I", 32, kind, 0, bits, *masks, *[0] * (4 - len(masks)))
    return b"DDS " + head + pixel_format + bytes(20) + bytes(width * height * bits // 8)


def mac_icon(code: bytes, content: bytes) -> bytes:
    """Return an icon of macOS with one image."""
    block = code + struct.pack(">I", 8 + len(content)) + content
    return b"icns" + struct.pack(">I", 8 + len(block)) + block


def old_mac_icon() -> bytes:
    """Return an icon of 48 × 48 in runs of bytes, which Pillow cannot write."""
    return mac_icon(b"ih32", b"\xfd\x40" * 3 * 18)


def _special_files() -> Iterator[bytes]:
    """Yield files with animation, interlacing, compression, orientation or tiles."""
    frames = {"save_all": True, "append_images": [patches(2, WIDTH, HEIGHT)]}
    rgb = in_mode("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker " * 20
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        yield encoded(rgb, kind, **frames)
    yield encoded(rgb, "MPO", **frames)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        yield encoded(rgb, kind, exif=exif)
    yield encoded(rgb, "JPEG", progressive=True)
    yield encoded(rgb, "WEBP", lossless=True)
    yield encoded(rgb, "JPEG2000", no_jp2=True, tile_size=(32, 32))
    yield encoded(rgb, "ICO", bitmap_format="bmp", sizes=[(WIDTH, HEIGHT)])
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield encoded(rgb, "TIFF", compression=compression)
    yield encoded(in_mode("1"), "TIFF", compression="group4")
    yield encoded(rgb, "TGA", compression="tga_rle")
    yield encoded(rgb, "SGI", bpc=2)
    for pixel_format in ("DXT1", "DXT3", "DXT5", "BC5"):
        yield encoded(
            rgb if pixel_format == "BC5" else in_mode("RGBA"), "DDS", pixel_format=pixel_format
        )
    yield sgi_rle()
    yield old_mac_icon()
    yield encoded(rgb, "TIFF", big_tiff=True)
    yield from (tiled_tiff(), interlaced_png(), rle_bmp())
    numbers = b" ".join(b"%d" % value for value in np.asarray(rgb).ravel())
    yield b"P3 # plain\n%d %d 255\n" % (WIDTH, HEIGHT) + numbers
    yield b"P6 %d %d 100\n" % (WIDTH, HEIGHT) + bytes(WIDTH * HEIGHT * 3)


def _text(size_bytes: int, kind: bytes = b"zTXt") -> bytes:
    return chunk(kind, b"k\0\0" + zlib.compress(bytes(size_bytes)))


@cache
def bombs() -> dict[str, bytes]:
    """Return files that need far more time or memory than their size suggests, by name."""
    rows = bytes((1 + 3 * WIDTH) * HEIGHT)
    jpeg = encoded(in_mode("RGB"), "JPEG")
    progressive = encoded(patches(1, 2000, 2000), "JPEG", progressive=True)
    last_scan = progressive.rindex(b"\xff\xda")
    exif = b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)
    rationals = struct.pack("<HHHII", 1, 33434, 5, 2**21, 1000) + bytes(990)
    webp = encoded(
        in_mode("RGBA"),
        "WEBP",
        **{"save_all": True, "append_images": [in_mode("RGBA").rotate(180)]},
    )
    canvas = webp.index(b"VP8X") + 12
    tile = zlib.compress(bytes(10**6))
    return {
        "PNG of 65,535²": png(65535, 65535, rows),
        "PNG of 7,000² without data": png(7000, 7000, rows),
        "PNG, interlaced, of 7,000²": png(7000, 7000, rows, interlaced=1),
        "PNG of 100,000 empty chunks": png(
            WIDTH, HEIGHT, rows, extra=chunk(b"abCd", b"") * 100_000
        ),
        "PNG with text of 70 MB": png(WIDTH, HEIGHT, rows, extra=_text(2**20) * 70),
        "PNG with a profile of 64 MB": png(WIDTH, HEIGHT, rows, extra=_text(2**26, b"iCCP")),
        "PNG with 20 MB of pixels too many": png(WIDTH, HEIGHT, bytes(20 * 10**6)),
        "icon of a PNG of 8,000²": icon_of(png(8000, 8000, bytes(8001), kind=0)),
        "Mac icon of a PNG of 8,000²": mac_icon(b"ic09", png(8000, 8000, bytes(8001), kind=0)),
        "Mac icon of a million empty pieces": b"icns" + b"\x7f\0\0\0" + b"abcd\0\0\0\x08" * 10**6,
        "PNG with one text of 60 MB": png(WIDTH, HEIGHT, rows, extra=_text(60 * 2**20)),
        "PNG with one text of 70 MB": png(WIDTH, HEIGHT, rows, extra=_text(70 * 2**20)),
        "QOI of 4 megapixels": b"qoif" + struct.pack(">II", 2000, 2000) + b"\3\0" + bytes(10**6),
        "QOI of 0.8 megapixels of noise": b"qoif"
        + struct.pack(">II", 1000, 800)
        + b"\4\0"
        + np.random.default_rng(0).bytes(3 * 10**6).replace(b"\xc0", b"\xff"),
        "DDS with masks of 3 bits of 4 megapixels": dds(2000, 2000, 8, (0xE0, 0x1C, 3)),
        "DDS with masks of 3 bits of 0.5 megapixels": dds(1000, 500, 8, (0xE0, 0x1C, 3)),
        "TGA of 65,535²": struct.pack(
            "<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 65535, 65535, 24, 32
        ),
        "PCX of 65,535²": struct.pack("<BBBBHHHH", 10, 5, 1, 8, 0, 0, 65534, 65534).ljust(65, b"\0")
        + b"\3"
        + bytes(999),
        "SGI of 65,535²": struct.pack(">HBBHHHH", 474, 1, 1, 3, 65535, 65535, 3) + bytes(999),
        "JPEG with 20 MB of EXIF": jpeg[:2] + exif * 320 + jpeg[2:],
        "JPEG of a million comments": jpeg[:2] + b"\xff\xfe\0\2" * 10**6 + jpeg[2:],
        "JPEG of 2,000 scans": progressive[:-2] + progressive[last_scan:-2] * 2000 + b"\xff\xd9",
        "TIFF of a tile of 30,000²": tiff(
            grey_tiff(64, 64, t259=(3, 1, 8), t322=(4, 1, 30000), t323=(4, 1, 30000))
            | {324: (4, 1, -1), 325: (4, 1, len(tile))},
            tile,
        ),
        "TIFF as wide as 4 million numbers": tiff(
            grey_tiff(64, 64) | {256: (3, 2**22, -1)}, b"\x40\1" * 2**22
        ),
        "TIFF with 2 million fractions in its EXIF": tiff(
            grey_tiff(64, 64, t34665=(4, 1, -1)), rationals + b"\7\0\0\0\3\0\0\0" * 2**21
        ),
        "TIFF whose EXIF is itself": tiff(grey_tiff(64, 64, t34665=(4, 1, 8)), bytes(4096)),
        "WebP of 13,000²": webp[:canvas] + b"\xc7\x32\0" * 2 + webp[canvas + 6 :],
        "GIF of 65,535²": encoded(in_mode("P"), "GIF").replace(b"\x40\0\x30\0", b"\xff" * 4),
        "GIF with 3 MB of comments": encoded(in_mode("P"), "GIF").replace(
            b"\x2c\0\0\0\0\x40", b"!\xfe" + b"\1x" * 3 * 2**19 + b"\0\x2c\0\0\0\0\x40"
        ),
        "BMP of runs that lead nowhere": rle_bmp(b"\0\0" * 10**6),
        "PPM with a comment of 2 MB": b"P6 #" + b"x" * 2**21 + b"\n64 48 255\n" + bytes(9216),
        "PPM of 500,000 comments": b"P3 64 48 255\n" + b"#\n" * 500_000 + b"1 " * 9216,
        "BMP of runs of 20 megapixels": rle_bmp(b"\1\1\0\0" * 300, 312_500),
        "PPM of 16 bits and 2 megapixels": b"P6 1500 1500 65535\n" + bytes(1500 * 1500 * 6),
        "PPM of 65,535²": b"P6 65535 65535 255\n" + bytes(99),
    }


@cache
def seeds(folder: Path | None = None) -> list[bytes]:
    """Return the files to damage: one of every format and mode, or all files of a folder."""
    if folder:
        return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    plain = [encoded(in_mode(mode), kind) for kind, modes in MODES.items() for mode in modes]
    return plain + list(_special_files())


@cache
def mask_seeds() -> list[bytes]:
    return [encoded(in_mode(mode), "PNG") for mode in MODES["PNG"]] + [interlaced_png()]


def _position(rng: np.random.Generator, data: bytes) -> int:
    """Return a random position in a file, in half of the cases among its first 100 bytes."""
    return int(rng.integers(min(100, len(data)) if rng.random() < 0.5 else len(data)))


def _flip_bits(rng, data, other):
    result = bytearray(data)
    for _ in range(rng.integers(1, 17)):
        result[_position(rng, data)] ^= 1 << rng.integers(8)
    return bytes(result)


def _cut(rng, data, other):
    return data[: _position(rng, data)]


def _splice(rng, data, other):
    return data[: _position(rng, data)] + other[_position(rng, other) :]


def _overwrite(rng, data, other):
    """Replace a run of bytes by zeros, ones or noise."""
    start, length = _position(rng, data), int(rng.integers(1, 200))
    filling = (bytes(length), b"\xff" * length, rng.bytes(length))[rng.integers(3)]
    return data[:start] + filling + data[start + length :]


def _insert(rng, data, other):
    start = _position(rng, data)
    return data[:start] + rng.bytes(int(rng.integers(1, 40))) + data[start:]


def _drop(rng, data, other):
    start = _position(rng, data)
    return data[:start] + data[start + int(rng.integers(1, 40)) :]


def _repeat(rng, data, other):
    start, length = _position(rng, data), int(rng.integers(1, 300))
    return data[:start] + data[start : start + length] * int(rng.integers(2, 300)) + data[start:]


def _change_size(rng, data, other):
    """Change the width or height wherever the file contains it, in either order of bytes."""
    for _ in range(rng.integers(1, 3)):
        code, bits = ((">I", 32), ("<I", 32), (">H", 16), ("<H", 16))[rng.integers(4)]
        new = min(int(rng.choice(SIZES)), 2**bits - 1)
        old = struct.pack(code, (WIDTH, HEIGHT)[rng.integers(2)])
        data = data.replace(old, struct.pack(code, new), int(rng.integers(1, 4)))
    return data


MUTATORS: tuple[Callable, ...] = (
    _flip_bits,
    _cut,
    _splice,
    _overwrite,
    _insert,
    _drop,
    _repeat,
    _change_size,
)


def _fix_checksums(data: bytes) -> bytes:
    """Correct the checksums of a PNG, so that the damage behind them is decoded."""
    fixed, start = data[:8], 8
    while start + 12 <= len(data):
        length = struct.unpack(">I", data[start : start + 4])[0]
        if start + 12 + length > len(data):
            break
        fixed += chunk(data[start + 4 : start + 8], data[start + 8 : start + 8 + length])
        start += 12 + length
    return fixed + data[start:]


def case(number: int, files: list[bytes]) -> bytes:
    """Return the damaged file of this number: one of `files` after one to three kinds of damage."""
    rng = np.random.default_rng(number)
    data = files[number % len(files)]
    for _ in range(rng.integers(1, 4)):
        damage = MUTATORS[rng.integers(len(MUTATORS))]
        data = damage(rng, data, files[rng.integers(len(files))]) or b"\0"
    is_fixed = data.startswith(b"\x89PNG\r\n\x1a\n") and rng.random() < 0.8
    return _fix_checksums(data) if is_fixed else data


def judge(data: bytes) -> str:
    """Return "used", or the reason why a file is in the quarantine."""
    try:
        image, width, height = decode(data, WIDTH)
    except UnusableError as error:
        return str(error)
    assert image.mode == "RGB"
    assert min(width, height) >= 32
    image.tobytes()
    return "used"


def judge_mask(data: bytes) -> str:
    """Return "used", or the message of the error that a mask raises."""
    row = PackedRow("a.png", WIDTH, HEIGHT, fit(WIDTH, HEIGHT, 32), None)
    try:
        mask = _pack_mask(data, row)
    except InputError as error:
        return str(error)
    assert mask.shape == (32, 32)
    return "used"


def _select_files(kind: str, argument: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, file): the bombs, or the cases "first:end", of a folder after ":real:"."""
    if kind == "bomb":
        yield from bombs().items()
        return
    numbers, _, folder = argument.partition(":real:")
    first, end = map(int, numbers.split(":"))
    files = mask_seeds() if kind == "mask" else seeds(Path(folder) if folder else None)
    for number in range(first, end):
        yield str(number), case(number, files)


def main(kind: str, argument: str = "") -> None:
    """Judge files one after another, and print a line of JSON before and after each."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as `pack` does
    for name, data in _select_files(kind, argument):
        print(json.dumps({"begun": name, "bytes": len(data)}), flush=True)
        faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
        start = time.perf_counter()
        outcome = judge_mask(data) if kind == "mask" else judge(data)
        seconds = time.perf_counter() - start
        faulthandler.cancel_dump_traceback_later()
        result = {"outcome": outcome, "seconds": seconds, "peak": peak_bytes()}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
