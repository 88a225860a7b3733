"""The size of the images in an AVIF: of files that Pillow writes, of headers written bit by bit
after the specification, and of a file whose header says another size."""

import struct

import pytest
from PIL import Image

from pokecam.data.packing import av1
from pokecam.data.packing.decode import decode
from pokecam.data.packing.limits import UnusableError
from tests.support.images import encoded, patches

WIDTH, HEIGHT = 70, 45


def box(letters: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + letters + content


def bits(*fields: tuple[int, int]) -> bytes:
    """Return numbers as bits, one after the other: (value, width) each."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))


def unit(kind: int, content: bytes, *, sized: bool = True, extended: bool = False) -> bytes:
    """Return an open bitstream unit (OBU)."""
    head = bytes([kind << 3 | extended << 2 | sized << 1]) + b"\0" * extended
    return head + (bytes([len(content)]) if sized else b"") + content


def size_fields(width: int, height: int) -> tuple[tuple[int, int], ...]:
    return (15, 4), (14, 4), (width - 1, 16), (height - 1, 15)


REDUCED = unit(1, bits((0, 3), (1, 1), (1, 1), (9, 5), *size_fields(300, 200)))
# It has timing with a variable-length number of five bits, and a decoder model with delays of 7
# bits. Of its two operating points the first has a tier and delays, and both an initial delay.
FULL = unit(
    1,
    bits(
        *((0, 3), (0, 1), (0, 1)),
        *((1, 1), (1000, 32), (30, 32), (1, 1), (0b00101, 5)),
        *((1, 1), (6, 5), (77, 32), (3, 5), (4, 5)),
        *((1, 1), (1, 5)),
        *((0x101, 12), (8, 5), (1, 1), (1, 1), (99, 7), (100, 7), (1, 1), (1, 1), (2, 4)),
        *((0x102, 12), (7, 5), (0, 1), (1, 1), (3, 4)),
        *size_fields(65535, 20000),
    ),
)
DELIMITER = unit(2, b"")
FRAME = unit(6, bytes(20))


def avif(coded: bytes, version: int, method: int = 0, length: int | None = None) -> bytes:
    """Return a file of one item, in `mdat` or (method 1) in `idat`."""
    size = len(coded) if length is None else length

    def iloc(at: int) -> bytes:
        number = (1, 32) if version == 2 else (1, 16)
        how = ((0, 12), (method, 4)) if version else ()
        index = ((0, 32),) if version else ()
        widths = ((4, 4), (4, 4), (4, 4), (4 if version else 0, 4))
        extent = ((0, 16), (5, 32), (1, 16), *index, (at - 5, 32), (size, 32))
        return box(b"iloc", bits((version, 8), (0, 24), *widths, number, number, *how, *extent))

    start = box(b"ftyp", b"avif\0\0\0\0avif")
    at = 7 if method == 1 else len(start) + 12 + len(iloc(7)) + 8
    idat = box(b"idat", bytes(7) + coded) if method == 1 else b""
    return start + box(b"meta", bytes(4) + iloc(at) + idat) + box(b"mdat", coded)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_files_of_pillow_have_the_size_that_their_header_says(mode):
    image = patches(1, WIDTH, HEIGHT).convert(mode)
    assert av1.largest_px(encoded(image, "AVIF")) == WIDTH * HEIGHT
    frames = {"save_all": True, "append_images": [image.rotate(9), image.rotate(18)]}
    assert av1.largest_px(encoded(image, "AVIF", **frames)) == WIDTH * HEIGHT


@pytest.mark.parametrize("version", [0, 1, 2])
def test_headers_of_all_kinds_are_found_everywhere(version):
    for coded, size_px in (
        (REDUCED, 300 * 200),
        (DELIMITER + FULL + FRAME, 65535 * 20000),
        (DELIMITER + REDUCED + FRAME + FULL, 65535 * 20000),
        (unit(2, b"", extended=True) + FRAME + FULL, 65535 * 20000),
        (unit(1, REDUCED[2:], sized=False), 300 * 200),
        (FRAME, 0),
    ):
        assert av1.largest_px(avif(coded, version)) == size_px
        assert av1.largest_px(avif(coded, version, length=0)) == size_px
        if version:
            assert av1.largest_px(avif(coded, version, method=1)) == size_px


@pytest.mark.parametrize(("letters", "width"), [(b"stco", "I"), (b"co64", "Q")])
@pytest.mark.parametrize("fixed", [True, False], ids=["one size", "sizes"])
def test_of_a_sequence_the_first_frame_counts(letters, width, fixed):
    first, second = FULL + FRAME, REDUCED + FRAME
    sizes = (
        struct.pack(">III", 0, len(first), 2)
        if fixed
        else struct.pack(">IIIII", 0, 0, 2, len(first), len(second))
    )
    mdat = box(b"mdat", first + second)
    offsets = struct.pack(f">II{width}", 0, 1, 8)
    inner = box(b"stbl", box(letters, offsets) + box(b"stsz", sizes))
    for container in (b"minf", b"mdia", b"trak", b"moov"):
        inner = box(container, inner)
    assert av1.largest_px(mdat + inner) == 65535 * 20000


def test_a_cut_off_header_or_table_is_no_size():
    for data in (avif(FULL[:1] + b"\x04" + FULL[2:6], 0), avif(REDUCED, 0)[:60]):
        with pytest.raises(ValueError, match="cut off"):
            av1.largest_px(data)


def test_the_number_of_pieces_is_limited():
    with pytest.raises(ValueError, match="too many pieces"):
        av1.largest_px(box(b"free", b"") * 200_000)
    with pytest.raises(ValueError, match="too many pieces"):
        av1.largest_px(avif(DELIMITER * 200_000, 1))


def test_an_image_that_is_coded_larger_than_its_header_says_is_refused():
    image = Image.new("L", (6000, 5400), 90)
    data = encoded(image, "AVIF", speed=10)
    at = data.index(b"ispe") + 8
    damaged = data[:at] + struct.pack(">II", 60, 54) + data[at + 8 :]
    with pytest.raises(UnusableError, match="too large: 32 megapixels are coded in it"):
        decode(damaged, 224)
