"""How large the images coded within an AVIF are, whatever size the file tells.

An AVIF (AV1 Image File Format 1.1) is a tree of boxes (ISO/IEC 14496-12): size, four letters,
content. The box `iloc` says where the coded data of its items lie (the image or its tiles, its
transparency), and `stco` or `co64` where the frames of a sequence do. They begin with AV1's
sequence header, which bounds the size of all frames after it (AV1 specification, 5.5.1).
"""

from collections.abc import Iterator

_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf")
_SEQUENCE_HEADER = 1
_MAX_HEADER_BYTES = 1024  # 32 points of operation, each with all it may have, are 600
_MAX_PIECES = 10**5  # boxes, items and units, 1 µs each


class _Bits:
    """Reads numbers of any width, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, width: int) -> int:
        start, self._at = self._at, self._at + width
        end = -(-self._at // 8)
        if end > len(self._data):
            raise ValueError("an AVIF that is cut off")
        return int.from_bytes(self._data[start // 8 : end]) >> -self._at % 8 & (1 << width) - 1

    def skip_uvlc(self) -> None:
        """Past a number in AV1's variable-length code (4.10.3)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        self.read(zeros if zeros < 32 else 0)


def largest_px(data: bytes) -> int:
    """The pixels of the largest image coded in an AVIF, 0 where none is found (which no decoder
    reads either). Of a sequence the first frame counts.

    Raises `ValueError` for one that is cut off or has more than `_MAX_PIECES`.
    """
    largest = 0
    for number, header in enumerate(_headers(data)):
        if number > _MAX_PIECES:
            raise ValueError("an AVIF of too many pieces")
        if header:
            largest = max(largest, _sequence_px(header))
    return largest


def _headers(data: bytes) -> Iterator[bytes | None]:
    """Yield the sequence headers, and None for every other piece that is passed."""
    for place in _coded(data, _boxes(data, 0, len(data))):
        yield None
        if place is not None:
            yield from _units(data, *place)


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (letters, start of the content, its end) of the boxes from `at` to `end`."""
    while at + 8 <= end:
        size, head = _number(data, at, 4), 8
        if size == 1:
            size, head = _number(data, at + 8, 8), 16
        stop = end if size == 0 else min(at + size, end)
        if stop < at + head:
            return
        yield data[at + 4 : at + 8], at + head, stop
        at = stop


def _coded(
    data: bytes, boxes: Iterator[tuple[bytes, int, int]]
) -> Iterator[tuple[int, int] | None]:
    """Yield (start, end) of what is coded, and None for every box."""
    for letters, at, end in boxes:
        yield None
        if letters in _CONTAINERS:
            yield from _coded(data, _boxes(data, at, end))
        elif letters in (b"meta", b"stbl"):
            table = dict[bytes, tuple[int, int]]()
            for name, start, stop in _boxes(data, at + 4 * (letters == b"meta"), end):
                yield None
                table.setdefault(name, (start, stop))
            yield from _items(data, table) if letters == b"meta" else _first_frame(data, table)


def _first_frame(data: bytes, table: dict[bytes, tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of a sequence's first frame, from its sample table (14496-12, 8.7)."""
    for letters, width in ((b"stco", 4), (b"co64", 8)):
        if letters in table and b"stsz" in table:
            start = _number(data, table[letters][0] + 8, width)
            sizes = table[b"stsz"][0]
            yield start, start + (_number(data, sizes + 4, 4) or _number(data, sizes + 12, 4))


def _number(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width])


def _items(data: bytes, meta: dict[bytes, tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each item's extents (14496-12, 8.11.3)."""
    if b"iloc" not in meta:
        return
    within = meta.get(b"idat", (0, 0))[0]
    bits = _Bits(data[slice(*meta[b"iloc"])])
    version = bits.read(8)
    bits.read(24)
    offset, length, base, index = (8 * bits.read(4) for _ in range(4))
    wide = 32 if version == 2 else 16
    for _ in range(bits.read(wide)):
        bits.read(wide)
        method = bits.read(16) & 15 if version else 0
        bits.read(16)
        start = bits.read(base) + (within if method == 1 else 0)
        for _ in range(bits.read(16)):
            bits.read(index if version else 0)
            at = start + bits.read(offset)
            yield at, at + (bits.read(length) or len(data))  # no length: all that follows


def _units(data: bytes, at: int, end: int) -> Iterator[bytes | None]:
    """Yield the sequence headers among the units (OBUs, AV1 5.3) from `at` to `end`, None for
    the others."""
    end = min(end, len(data))
    while at < end:
        head = data[at]
        at += 2 if head & 4 else 1
        size = end - at
        if head & 2:
            size, at = _leb128(data, at)
        is_header = head >> 3 & 15 == _SEQUENCE_HEADER
        yield data[at : min(at + size, at + _MAX_HEADER_BYTES)] if is_header else None
        at += size


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at `at` (AV1 4.10.5), and where it has ended."""
    value = 0
    for place, byte in enumerate(data[at : at + 8]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    return value, at + 8


def _sequence_px(header: bytes) -> int:
    """The pixels that a sequence header allows a frame (AV1 5.5.1)."""
    bits = _Bits(header)
    bits.read(4)  # profile, still image
    if bits.read(1):  # reduced
        bits.read(5)
    else:
        _skip_timing_and_points(bits)
    widths = bits.read(4) + 1, bits.read(4) + 1
    width, height = (bits.read(width) + 1 for width in widths)
    return width * height


def _skip_timing_and_points(bits: _Bits) -> None:
    decoder_model, delay_width = 0, 0
    if bits.read(1):  # timing info
        bits.read(64)
        if bits.read(1):
            bits.skip_uvlc()
        decoder_model = bits.read(1)
        if decoder_model:
            delay_width = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if decoder_model and bits.read(1):
            bits.read(2 * delay_width + 1)
        if display_delay and bits.read(1):
            bits.read(4)
