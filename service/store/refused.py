"""Stored rows that do not open: changed or moved outside the service, or sealed under a lost key."""

from __future__ import annotations

import structlog

log = structlog.get_logger("halflight.store")

NAMED = 5


class RefusedRows:
    """The rows that this process has refused, by their names. A name shows no content."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def add(self, name: str) -> None:
        """Refuses a row; the log says so once."""
        if name not in self._names:
            self._names[name] = None
            log.error("a stored row does not open and is refused", row=name)

    def discard(self, name: str) -> None:
        """The row is gone, or opens again."""
        self._names.pop(name, None)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __str__(self) -> str:
        """How many, and the names of the first."""
        shown = ", ".join(list(self._names)[:NAMED])
        more = f" and {len(self) - NAMED} more" if len(self) > NAMED else ""
        rows = "1 stored row does not open" if len(self) == 1 else f"{len(self)} stored rows do not open"
        return (
            f"{rows} and is refused: {shown}{more}"
            if len(self) == 1
            else f"{rows} and are refused: {shown}{more}"
        )


def template_name(template_id: int) -> str:
    """The name of a template's row."""
    return f"template {template_id}"
