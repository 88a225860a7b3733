"""How large the images are that are coded in an AVIF, whatever size its header says.

An AVIF (AV1 Image File Format 1.1) is a tree of boxes (ISO/IEC 14496-12): size, four letters,
content. The box `iloc` says where the coded data of the items are: the image or its tiles, and its
transparency. The boxes `stco` and `co64` say where the frames of a sequence are. Coded data begin
with a sequence header of AV1, which bounds the size of all frames after it (AV1 specification,
5.5.1).

Offsets and ends are in bytes from the start of the file.
"""

from collections.abc import Iterator

_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf")
_SEQUENCE_HEADER = 1  # the type of a unit
_MAX_HEADER_BYTES = 1024  # the longest has 600: 32 operating points with all their fields
_MAX_PIECES = 10**5  # boxes, items and units, 1 µs each

Span = tuple[int, int]  # offset and end


class _BitReader:
    """Reads numbers of any width in bits, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0  # in bits

    def read(self, width: int) -> int:
        start, self._position = self._position, self._position + width
        end = -(-self._position // 8)
        if end > len(self._data):
            raise ValueError("an AVIF that is cut off")
        value = int.from_bytes(self._data[start // 8 : end])
        return value >> -self._position % 8 & (1 << width) - 1

    def skip_uvlc(self) -> None:
        """Skip a number in the variable-length code of AV1 (4.10.3)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        self.read(zeros if zeros < 32 else 0)


def largest_px(data: bytes) -> int:
    """Return the number of pixels of the largest image that is coded in an AVIF.

    Args:
        data: the bytes of the file.

    Returns:
        The pixels of the largest image; of a sequence, those of its first frame. It is 0 for a
        file without a sequence header, which no decoder reads.

    Raises:
        ValueError: the file is cut off, or has more than `_MAX_PIECES` boxes, items and units.
    """
    largest = 0
    for number, header in enumerate(_sequence_headers(data)):
        if number > _MAX_PIECES:
            raise ValueError("an AVIF of too many pieces")
        if header:
            largest = max(largest, _sequence_px(header))
    return largest


def _sequence_headers(data: bytes) -> Iterator[bytes | None]:
    """Yield the sequence headers, and None for every other piece, which is counted too."""
    for span in _coded_spans(data, _boxes(data, 0, len(data))):
        yield None
        if span is not None:
            yield from _units(data, *span)


def _boxes(data: bytes, offset: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (letters, offset of the content, its end) of the boxes from `offset` to `end`."""
    while offset + 8 <= end:
        size, head = _integer(data, offset, 4), 8
        if size == 1:
            size, head = _integer(data, offset + 8, 8), 16
        box_end = end if size == 0 else min(offset + size, end)
        if box_end < offset + head:
            return
        yield data[offset + 4 : offset + 8], offset + head, box_end
        offset = box_end


def _coded_spans(data: bytes, boxes: Iterator[tuple[bytes, int, int]]) -> Iterator[Span | None]:
    """Yield the span of all coded data, and None for every box."""
    for letters, offset, end in boxes:
        yield None
        if letters in _CONTAINERS:
            yield from _coded_spans(data, _boxes(data, offset, end))
        elif letters in (b"meta", b"stbl"):
            spans = dict[bytes, Span]()
            first = offset + 4 * (letters == b"meta")  # after the version of `meta`
            for name, content, content_end in _boxes(data, first, end):
                yield None
                spans.setdefault(name, (content, content_end))
            yield from _items(data, spans) if letters == b"meta" else _first_frame(data, spans)


def _first_frame(data: bytes, spans: dict[bytes, Span]) -> Iterator[Span]:
    """Yield the span of the first frame of a sequence, by the boxes in `stbl` (14496-12, 8.7)."""
    for letters, width in ((b"stco", 4), (b"co64", 8)):
        if letters in spans and b"stsz" in spans:
            offset = _integer(data, spans[letters][0] + 8, width)
            sizes = spans[b"stsz"][0]
            yield offset, offset + (_integer(data, sizes + 4, 4) or _integer(data, sizes + 12, 4))


def _integer(data: bytes, offset: int, width: int) -> int:
    return int.from_bytes(data[offset : offset + width])


def _items(data: bytes, spans: dict[bytes, Span]) -> Iterator[Span]:
    """Yield the span of each extent of all items, by the boxes in `meta` (14496-12, 8.11.3)."""
    if b"iloc" not in spans:
        return
    idat = spans.get(b"idat", (0, 0))[0]
    bits = _BitReader(data[slice(*spans[b"iloc"])])
    version = bits.read(8)
    bits.read(24)  # flags
    offset_bits, length_bits, base_bits, index_bits = (8 * bits.read(4) for _ in range(4))
    id_bits = 32 if version == 2 else 16
    for _ in range(bits.read(id_bits)):
        bits.read(id_bits)
        method = bits.read(16) & 15 if version else 0
        bits.read(16)  # where data outside this file are
        base = bits.read(base_bits) + (idat if method == 1 else 0)
        for _ in range(bits.read(16)):
            bits.read(index_bits if version else 0)
            offset = base + bits.read(offset_bits)
            yield offset, offset + (bits.read(length_bits) or len(data))  # no length: to the end


def _units(data: bytes, offset: int, end: int) -> Iterator[bytes | None]:
    """Yield the sequence headers among the units (OBUs, AV1 5.3), None for every other unit."""
    end = min(end, len(data))
    while offset < end:
        head = data[offset]
        offset += 2 if head & 4 else 1
        size = end - offset
        if head & 2:
            size, offset = _read_leb128(data, offset)
        is_header = head >> 3 & 15 == _SEQUENCE_HEADER
        yield data[offset : min(offset + size, offset + _MAX_HEADER_BYTES)] if is_header else None
        offset += size


def _read_leb128(data: bytes, offset: int) -> tuple[int, int]:
    """Return the number that begins at `offset` (AV1 4.10.5), and its end."""
    value = 0
    for i, byte in enumerate(data[offset : offset + 8]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, offset + i + 1
    return value, offset + 8


def _sequence_px(header: bytes) -> int:
    """Return the number of pixels that a sequence header allows a frame (AV1 5.5.1)."""
    bits = _BitReader(header)
    bits.read(4)  # profile, still image
    if bits.read(1):  # reduced
        bits.read(5)
    else:
        _skip_timing_and_points(bits)
    widths = bits.read(4) + 1, bits.read(4) + 1
    width, height = (bits.read(width) + 1 for width in widths)
    return width * height


def _skip_timing_and_points(bits: _BitReader) -> None:
    """Skip timing, decoder model and operating points, in the names of AV1 5.5.1."""
    has_decoder_model, delay_bits = 0, 0
    if bits.read(1):  # timing_info_present_flag
        bits.read(64)
        if bits.read(1):  # equal_picture_interval
            bits.skip_uvlc()
        has_decoder_model = bits.read(1)
        if has_decoder_model:
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):  # operating points
        bits.read(12)
        if bits.read(5) > 7:  # seq_level_idx
            bits.read(1)
        if has_decoder_model and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
