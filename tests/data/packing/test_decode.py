"""Every file becomes an upright RGB image, or a reason."""

import io
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pokecam.data.packing import decode as module
from pokecam.data.packing import limits
from pokecam.data.packing.decode import UnusableError, decode
from tests.data.packing import fuzz
from tests.data.packing.fuzz import in_mode
from tests.support.images import encoded, image_bytes, patches

LEFT_RED = Image.new("RGB", (64, 48), "blue")
LEFT_RED.paste((255, 0, 0), (0, 0, 32, 48))
ORIENTATION = 0x0112


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, 224)[0])


def reason(data: bytes) -> str:
    with pytest.raises(UnusableError) as error:
        decode(data, 224)
    return str(error.value)


@pytest.mark.parametrize(
    "kind",
    ["PNG", "BMP", "TIFF", "PPM", "GIF", "DDS", "DIB", "PCX", "QOI", "SGI", "TGA"],
)
def test_lossless_formats_keep_every_pixel(kind):
    image = patches(1).quantize(64).convert("RGB")
    assert np.array_equal(pixels(encoded(image, kind)), np.asarray(image))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats_keep_the_image(kind):
    image = patches(1)
    error = np.abs(pixels(encoded(image, kind)).astype(int) - np.asarray(image))
    assert error.mean() < 12


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [*enumerate(["left", "right", "right", "left", "top", "top", "bottom", "bottom"], start=1)],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_turns_the_image(orientation, corner, kind):
    """The left half of the stored image is red; the eight orientations move it to four sides."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image, width, height = decode(encoded(LEFT_RED, kind, exif=exif), 224)
    upright = np.asarray(image)
    assert (width, height) == ((48, 64) if orientation > 4 else (64, 48))
    assert upright.shape == (height, width, 3)
    h, w = height // 2, width // 2
    sides = {
        "left": upright[:, : w - 4],
        "right": upright[:, w + 4 :],
        "top": upright[: h - 4],
        "bottom": upright[h + 4 :],
    }
    redness = {side: int(half[..., 0].mean()) for side, half in sides.items()}
    assert max(redness, key=redness.get) == corner
    assert redness[corner] > 230


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_image_with_a_damaged_exif_block_is_used():
    data = encoded(LEFT_RED, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f garbage")
    assert decode(data, 224)[1:] == (64, 48)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PNG with a transparent colour"])
def test_transparency_lies_on_white(mode):
    """A transparent black square becomes white, an opaque one stays black."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    if mode == "P":
        data = encoded(image.quantize(4), "PNG")
    elif mode == "LA":
        data = encoded(image.convert("LA"), "PNG")
    elif mode == "RGBA":
        data = encoded(image, "PNG")
    else:
        flat = Image.new("RGB", (64, 64), (1, 2, 3))
        flat.paste((0, 0, 0), (32, 0, 64, 64))
        data = encoded(flat, "PNG", transparency=(1, 2, 3))
    rgb = pixels(data)
    assert (rgb[:, :30] == 255).all()
    assert (rgb[:, 34:] == 0).all()


def test_a_text_of_any_length_in_a_png_is_read_or_is_the_reason():
    """A whole PNG with a few megabytes of compressed text, as programs that draw save them."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(patches(1, 64, 48)))
    for megabytes in (2, 40):
        for kind, head in ((b"zTXt", b"prompt\0\0"), (b"iTXt", b"prompt\0\1\0\0\0")):
            text = fuzz.chunk(kind, head + zlib.compress(b"a long text " * (megabytes * 87_000)))
            data = fuzz.png(64, 48, rows, extra=text)
            assert np.array_equal(pixels(data), np.asarray(patches(1, 64, 48)))
    too_long = fuzz.png(64, 48, rows, extra=fuzz._text(65 * 2**20))
    expected = "too large: more than 64 MiB of text in a PNG; save it again without its text"
    assert reason(too_long) == expected
    assert reason(fuzz.png(64, 48, rows, extra=fuzz._text(2**20) * 65)) == expected


DDS_ORDERS = [
    (24, (0xFF0000, 0xFF00, 0xFF)),
    (24, (0xFF, 0xFF00, 0xFF0000)),
    (32, (0xFF0000, 0xFF00, 0xFF)),
    (32, (0xFF, 0xFF00, 0xFF0000)),
    (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    (16, (0xF800, 0x7E0, 0x1F)),
]


@pytest.mark.parametrize(("bits", "masks"), DDS_ORDERS)
def test_a_dds_has_the_same_pixels_by_every_decoder(monkeypatch, bits, masks):
    head = fuzz.dds(40, 36, bits, masks)[:128]
    data = head + np.random.default_rng(0).bytes(40 * 36 * bits // 8)
    read = pixels(data)
    assert len(np.unique(read)) > 30
    monkeypatch.setattr(limits, "_DDS_RAW_MODES", {})
    assert np.array_equal(read, pixels(data))


def test_an_uncompressed_dds_of_a_usual_order_is_not_slow():
    data = encoded(patches(1, 1024, 1024), "DDS")
    assert pixels(data).shape == (1024, 1024, 3)


@pytest.mark.parametrize("kind", ["DDS", "TGA"])
def test_an_alpha_channel_that_nobody_filled_hides_nothing(kind):
    """A game's image of four bytes a pixel, the last of them 0, is not white."""
    image = patches(1)
    image.putalpha(0)
    assert np.array_equal(pixels(encoded(image, kind)), np.asarray(patches(1)))
    image.paste((0, 0, 0, 255), (0, 0, 32, 64))
    assert (pixels(encoded(image, kind))[:, 32:] == 255).all()


def test_a_tga_is_read_in_every_orientation():
    data = bytearray(encoded(patches(1), "TGA"))
    assert data[17] == 0  # from the bottom, from the left
    for flags, step in ((0, (-1, 1)), (0x10, (-1, -1)), (0x20, (1, 1)), (0x30, (1, -1))):
        data[17] = flags
        stored = np.asarray(patches(1))[::-1]
        assert np.array_equal(pixels(bytes(data)), stored[:: step[0], :: step[1]])


def test_the_preview_in_a_camera_raw_is_not_the_image():
    tags = fuzz.grey_tiff(64, 48, t254=(4, 1, 1))
    assert reason(fuzz.tiff(tags, bytes(64 * 48))).startswith("its first image is only a preview")
    assert pixels(fuzz.tiff(tags | {254: (4, 1, 0)}, bytes(64 * 48))).shape == (48, 64, 3)


def test_half_transparent_black_is_grey():
    assert pixels(encoded(Image.new("RGBA", (32, 32), (0, 0, 0, 128)), "PNG"))[5, 5] == (
        pytest.approx([127, 127, 127], abs=1)
    )


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_colours_become_rgb(mode):
    image = Image.new("RGB", (64, 64), "white")
    image.paste((0, 0, 0), (0, 0, 32, 64))
    rgb = pixels(encoded(image.convert(mode), "TIFF"))
    assert (rgb[:, :32] < 5).all()
    assert (rgb[:, 32:] > 250).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_cut_off(kind):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)
    data = encoded(Image.fromarray(np.tile(ramp, (32, 1))), kind)
    assert pixels(data)[0, :, 0] == pytest.approx(np.linspace(0, 255, 64), abs=1)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_floating_point_greys(top):
    ramp = np.linspace(0, top, 64, dtype=np.float32)
    data = encoded(Image.fromarray(np.tile(ramp, (32, 1))), "TIFF")
    assert pixels(data)[0, :, 0] == pytest.approx(np.linspace(0, 255, 64), abs=1)


@pytest.mark.filterwarnings("error")
def test_nan_is_black_and_infinity_is_black_or_white():
    """Signalling NaNs, of which NumPy warns, included."""
    values = np.full((32, 32), 0.2, np.float32)
    values[0, :2] = np.inf, -np.inf
    values[1, :2] = np.array([0x7FA00000, 0x7FC00000], np.uint32).view(np.float32)
    grey = pixels(encoded(Image.fromarray(values), "TIFF"))[..., 0]
    assert grey[:2, :2].tolist() == [[255, 0], [0, 0]]
    values[0, 0] = 0.2
    grey = pixels(encoded(Image.fromarray(values), "TIFF"))[..., 0]
    assert grey[:3, :2].tolist() == [[51, 0], [0, 0], [51, 51]]


def test_a_giant_is_shrunk_and_looks_the_same(monkeypatch):
    """Each square of pixels becomes its mean. Transparency is applied before and orientation after
    that. The returned size is that of the original."""
    monkeypatch.setattr(limits, "GIANT_PX", 1000)
    monkeypatch.setattr(module, "_STRIP_PX", 999)  # several strips, the last one short
    image = patches(1, 330, 210)
    image.putalpha(patches(2, 330, 210).convert("L"))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(image, "PNG", exif=exif)
    shrunk, width, height = decode(data, 40)
    monkeypatch.undo()
    original, *size = decode(data, 40)  # its incomplete squares are at the left after rotation
    assert [width, height] == size == [210, 330]
    assert shrunk.size == (53, 83)  # 4 × 4 pixels each
    blocks = np.asarray(original).astype(float)[:328, 2:]
    means = blocks.reshape(82, 4, 52, 4, 3).mean(axis=(1, 3))
    assert np.abs(np.asarray(shrunk)[:82, 1:] - means).max() <= 0.51


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_strips_change_no_pixel(monkeypatch, mode):
    data = encoded(in_mode(mode), "TIFF")
    expected = pixels(data)
    monkeypatch.setattr(module, "_STRIP_PX", 300)
    assert np.array_equal(pixels(data), expected)


def test_giants_are_decoded_one_at_a_time(monkeypatch):
    monkeypatch.setattr(limits, "GIANT_PX", 1000)
    running, counts = [], []
    rgb = module._to_rgb

    def slow(*arguments):
        running.append(1)
        counts.append(len(running))
        time.sleep(0.02)
        running.pop()
        return rgb(*arguments)

    monkeypatch.setattr(module, "_to_rgb", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(pixels, [image_bytes(1), image_bytes(2), image_bytes(3), image_bytes(4)]))
        assert max(counts) == 1
        monkeypatch.setattr(limits, "GIANT_PX", 10**6)
        list(pool.map(pixels, [image_bytes(1), image_bytes(2), image_bytes(3), image_bytes(4)]))
    assert max(counts) > 1


@pytest.mark.parametrize(
    ("scans", "data"),
    [
        (1, encoded(patches(1), "JPEG")),
        (1, encoded(patches(1), "JPEG", exif=b"Exif\0\0" + image_bytes(2, "JPEG"))),
        (1, encoded(patches(1), "JPEG") + b"\xff\xda" * 9),
        (10, encoded(patches(1), "JPEG", progressive=True)),
    ],
)
def test_scans_are_counted_up_to_the_end_and_not_in_thumbnails(scans, data):
    assert limits.count_scans(data) == scans


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_counts(kind):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "lime")]
    data = encoded(
        frames[0],
        kind,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if kind == "WEBP" else {}),
    )
    assert (pixels(data) == (255, 0, 0)).all()


def test_a_large_jpeg_decoded_small_looks_the_same():
    """Decoded at a quarter of its size and letterboxed, it is the same image to 1.5 grey values."""
    large = patches(1, 2000, 1600).resize((1600, 1280), Image.Resampling.BICUBIC)
    data = encoded(large, "JPEG", quality=90)
    quick, width, height = decode(data, 100)
    assert (width, height) == (1600, 1280)
    assert 200 <= max(quick.size) < 1600
    original = Image.open(io.BytesIO(data)).convert("RGB")
    small = [
        np.asarray(image.resize((100, 80), Image.Resampling.BICUBIC)).astype(int)
        for image in (quick, original)
    ]
    assert np.abs(small[0] - small[1]).mean() < 1.5


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG is not read: convert it to JPEG or PNG"),
        (b"<!DOCTYPE html><html>404</html>", "not an image (HTML)"),
        (b"just some words", "not an image (or its format is unknown)"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "PostScript is not read: convert it to JPEG or PNG",
        ),
        (b"II*\0\x10\0\0\0CR\2\0", "camera raw is not read: convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypheic0000", "HEIC is not read: convert it to JPEG or PNG"),
        (b"\xff\xd8\xff", "truncated or corrupt: the header of this JPEG cannot be read"),
        (image_bytes(1, width=12, height=90), "too small: 12×90 px, at least 32 px needed"),
    ],
)
def test_reasons_in_plain_words(data, expected):
    assert reason(data) == expected


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_is_never_half_an_image(kind):
    data = image_bytes(1, kind, 200, 200)
    assert reason(data[: len(data) * 2 // 3]).startswith("truncated or corrupt: ")


def test_a_reason_is_the_same_on_every_run():
    """Messages of Pillow can contain memory addresses."""
    broken = image_bytes(1)[:60]
    assert reason(broken) == reason(broken)
    assert "0x" not in reason(broken)


def huge_png(side_px: int) -> bytes:
    """Return a PNG whose header says side_px² pixels, and which has none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_giant_images_are_refused_before_they_are_decoded():
    assert reason(huge_png(10_001)).startswith("too large: 10001×10001 px, at most 50 megapixels")
    assert reason(huge_png(60_000)).startswith("too large: ")


def test_the_limit_itself_is_read(monkeypatch):
    monkeypatch.setattr(limits, "_MEGAPIXELS", 0.0064)
    assert pixels(image_bytes(1, width=80, height=80)).shape == (80, 80, 3)
    assert reason(image_bytes(1, width=81, height=80)).startswith("too large: 81×80 px")


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]), st.data())
def test_no_damage_ever_escapes(kind, data):
    """Whatever bytes are changed, the result is an image or a reason, never another error."""
    good = bytearray(image_bytes(1, kind, 40, 40))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UnusableError):
        image, width, height = decode(bytes(good), 64)
        assert image.mode == "RGB"
        assert min(width, height) >= 32
