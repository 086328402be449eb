"""Reads server-sent events from the bytes of a stream, as the HTML standard says: no input, no output."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Message:
    """One event. `last_id`: the `Last-Event-ID` that goes on behind it; empty if the stream gave none."""

    event: str
    data: str
    last_id: str


class Parser:
    """Reads one stream. `retry_s`: after how long the service wants to be asked again, if it said so."""

    def __init__(self) -> None:
        self.retry_s: float | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._last_id, self._event = "", ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Yields each event that is whole with these bytes."""
        text = self._rest + self._decoder.decode(chunk)
        # A carriage return at the end may be half of a line end.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = LINE_END.split(text.removesuffix(held))
        self._rest = rest + held
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                yield Message(self._event or "message", "\n".join(self._data), self._last_id)
                self._data, self._event = [], ""
            else:
                self._event = ""

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._last_id = value
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry_s = int(value) / 1000
