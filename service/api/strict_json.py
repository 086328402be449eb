"""Reads JSON that says one thing: no name twice in an object, and no number that JSON does not have."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence


class RepeatedName(ValueError):
    """An object gives a name twice: parsers differ in which value they take (RFC 8259, 4)."""


def loads(text: str | bytes) -> object:
    """Raises RepeatedName, ValueError, RecursionError."""
    return json.loads(text, object_pairs_hook=_once, parse_constant=_reject_constant)


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise RepeatedName(f"`{twice[:40]}` is given twice")
    return found


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
