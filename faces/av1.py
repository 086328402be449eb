"""The coded size of the pictures in an AVIF file, from its boxes and AV1 headers alone.

An AVIF declares a size twice: in its container and in the AV1 stream. Decoders allocate for the
second, so a file of 3 KB that declares 64 x 64 pixels may take half a gigabyte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

SEQUENCE_HEADER = 1
# More than this is no photo, and reading it would take long.
MAX_EXTENTS = 8192


class _Bits:
    """Reads unsigned numbers of some bits, first bit first; past the end it reads zeros."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data + bytes(64), "big"), 8 * (len(data) + 64)

    def read(self, count: int) -> int:
        if count > self._left:
            raise ValueError("an AV1 header is too short")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)


def largest_coded(data: bytes) -> tuple[int, int]:
    """Returns the largest (width, height) in pixels of any AV1 sequence header; (0, 0) for none.

    Raises ValueError for broken boxes, and for items that overlap so often that they are an attack.
    """
    largest, read = (0, 0), 0
    for item in _items(data):
        read += len(item)
        if read > 2 * len(data):
            raise ValueError("the items overlap")
        for size in _sizes(item):
            largest = max(largest, size, key=math.prod)
    return largest


def is_sequence(data: bytes) -> bool:
    """Whether the file holds tracks (ISO/IEC 14496-12, 8.2.1): a film, not a still picture."""
    return any(kind == b"moov" for kind, _ in _boxes(data))


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = len(data) if size == 0 else at + size
        if end < at + head:
            raise ValueError("a box is shorter than its head")
        yield kind, data[at + head : end]
        at = end


def _items(data: bytes) -> Iterator[bytes]:
    """The bytes of every item of the file (`iloc`, ISO/IEC 14496-12, 8.11.3)."""
    meta = next((content[4:] for kind, content in _boxes(data) if kind == b"meta"), b"")
    parts = dict(_boxes(meta))
    places, at = parts.get(b"iloc", bytes(16)), 0

    def number(count: int) -> int:
        nonlocal at
        if at + count > len(places):
            raise ValueError("the list of items is too short")
        at += count
        return int.from_bytes(places[at - count : at], "big")

    version, sizes = number(4) >> 24, number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    extents = 0
    for _ in range(number(4 if version == 2 else 2)):
        number(4 if version == 2 else 2)
        source = parts.get(b"idat", b"") if version and number(2) & 15 == 1 else data
        number(2)
        base, pieces = number(base_size), []
        for _ in range(number(2)):
            extents += 1
            if extents > MAX_EXTENTS:
                raise ValueError("there are too many items")
            if version:
                number(index_size)
            start, length = base + number(offset_size), number(length_size)
            pieces.append(source[start : start + length] if length else source[start:])
        yield b"".join(pieces)


def _sizes(item: bytes) -> Iterator[tuple[int, int]]:
    """The size in each sequence header of a series of OBUs (AV1 specification, 5.3)."""
    at = 0
    while at < len(item):
        head = item[at]
        at += 2 if head & 4 else 1
        length = len(item) - at
        if head & 2:
            length, shift = 0, 0
            while at < len(item) and shift < 56:
                byte = item[at]
                at, length, shift = at + 1, length | (byte & 127) << shift, shift + 7
                if byte < 128:
                    break
        if head >> 3 & 15 == SEQUENCE_HEADER:
            yield _sequence_size(_Bits(item[at : at + min(length, 512)]))
        at += length


def _sequence_size(bits: _Bits) -> tuple[int, int]:
    """`max_frame_width_minus_1` and its height, plus 1, behind what precedes them (5.5.1)."""
    bits.read(4)
    if bits.read(1):  # reduced_still_picture_header
        bits.read(5)
    else:
        delay_bits = _skip_timing(bits) if bits.read(1) else 0
        has_display_delay = bits.read(1)
        for _ in range(bits.read(5) + 1):
            bits.read(12)
            if bits.read(5) > 7:
                bits.read(1)
            if delay_bits and bits.read(1):
                bits.read(2 * delay_bits + 1)
            if has_display_delay and bits.read(1):
                bits.read(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _skip_timing(bits: _Bits) -> int:
    """Reads past timing_info and decoder_model_info; returns the bits of a buffer delay, 0 for none."""
    bits.read(64)
    if bits.read(1):  # equal_picture_interval, then an Exp-Golomb number
        zeros = 0
        while zeros < 32 and not bits.read(1):
            zeros += 1
        bits.read(zeros if zeros < 32 else 0)
    if not bits.read(1):
        return 0
    delay_bits = bits.read(5) + 1
    bits.read(42)
    return delay_bits
