"""Reads server-sent events (HTML standard, section 9.2.6) from the lines of a response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`id`: where a reader goes on from; None if no event had one so far. `data`: parsed JSON."""

    kind: str
    id: str | None
    data: dict[str, Any]


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """Yields each event once it is whole; one that is cut off is dropped, and comments are.

    Raises ValueError if the data of one is no JSON object.
    """
    kind, last_id, data = "message", None, list[str]()
    for line in lines:
        if not line:
            if data:
                yield Event(kind, last_id, _parsed("\n".join(data)))
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last_id = value


def _parsed(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if isinstance(value, dict):
        return value
    raise ValueError("the data of an event is no JSON object")
