"""Cuts long lists of ids: SQLite allows about 32,000 variables in a statement, older versions 999."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Id = TypeVar("Id")

IDS_AT_ONCE = 500


def portions(ids: Sequence[Id]) -> Iterator[list[Id]]:
    """Yields these ids in order, as many at a time as one statement takes."""
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield list(ids[start : start + IDS_AT_ONCE])
