"""Reads a FlatBuffers file without its schema's generated code: tables, vectors and scalars by their number.

The layout is that of https://flatbuffers.dev/internals: a table begins with its distance to a list of field
offsets, and everything of variable size stands behind a relative offset.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass


class FlatBufferError(ValueError):
    """The bytes are no such file, or end early."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table at `at` in `data`. Every method takes the number of a field in the schema."""

    data: bytes
    at: int

    def _number(self, kind: str, at: int) -> int:
        try:
            (value,) = struct.unpack_from(f"<{kind}", self.data, at)
        except struct.error as error:
            raise FlatBufferError("the file ends early") from error
        return int(value)

    def _place(self, field: int) -> int | None:
        """Where the field's value stands; None if it has its default."""
        fields = self.at - self._number("i", self.at)
        place = 4 + 2 * field
        if place >= self._number("H", fields):
            return None
        offset = self._number("H", fields + place)
        return self.at + offset if offset else None

    def scalar(self, field: int, kind: str, default: int = 0) -> int:
        """An integer; `kind` as in `struct`."""
        place = self._place(field)
        return default if place is None else self._number(kind, place)

    def table(self, field: int) -> Table | None:
        place = self._place(field)
        return None if place is None else Table(self.data, place + self._number("I", place))

    def _vector(self, field: int) -> tuple[int, int]:
        """Start and length in elements."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + self._number("I", place)
        return start + 4, self._number("I", start)

    def tables(self, field: int) -> list[Table]:
        start, count = self._vector(field)
        places = (start + 4 * i for i in range(count))
        return [Table(self.data, place + self._number("I", place)) for place in places]

    def integers(self, field: int) -> tuple[int, ...]:
        """A vector of int32."""
        start, count = self._vector(field)
        return tuple(self._number("i", start + 4 * i) for i in range(count))

    def content(self, field: int) -> bytes:
        """A vector of bytes, or a string."""
        start, count = self._vector(field)
        if start + count > len(self.data):
            raise FlatBufferError("the file ends early")
        return self.data[start : start + count]


def root(data: bytes, identifier: bytes) -> Table:
    """The outermost table. Raises FlatBufferError if the file has another identifier."""
    if data[4:8] != identifier:
        raise FlatBufferError(f"this is no {identifier.decode()} file")
    return Table(data, struct.unpack_from("<I", data)[0])
