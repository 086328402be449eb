"""Audits refusals of access: the first of each kind at once, its repetitions as a number.

A stranger can ask without end; a row for each request would let anybody fill the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from service.audit.recorder import AuditRecorder
from service.store.records import AuditEvent

WINDOW_S = 60.0
MAX_KINDS = 1000
OTHERS = "others"
NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`actor`: the id of a valid key that lacks a right; `NOBODY` without a valid key."""

    actor: str
    code: str
    address: str

    def event(self, route: str | None, repeated: int) -> AuditEvent:
        detail = {"code": self.code, "address": self.address, "route": route, "repeated": repeated}
        return AuditEvent(at=datetime.now(UTC), actor=self.actor, action="access.refuse", detail=detail)


@dataclass(slots=True)
class _Seen:
    until_s: float
    repeated: int = 0


class RefusalLog:
    """Notes refusals. An entry with `repeated` says how many more of its kind came within the window."""

    def __init__(self, recorder: AuditRecorder, clock: Callable[[], float] = time.monotonic) -> None:
        self._recorder, self._clock = recorder, clock
        self._seen: dict[Refusal, _Seen] = {}

    def note(self, refusal: Refusal, route: str) -> None:
        """Never waits and never fails: a refusal stays a refusal."""
        if refusal not in self._seen and len(self._seen) >= MAX_KINDS:
            refusal = Refusal(NOBODY if refusal.actor == NOBODY else OTHERS, refusal.code, OTHERS)
        now = self._clock()
        seen = self._seen.get(refusal)
        if seen is not None and now < seen.until_s:
            seen.repeated += 1
            return
        if seen is not None:
            self._tell(refusal, seen)
        self._seen[refusal] = _Seen(now + WINDOW_S)
        self._recorder.note(refusal.event(route, 0))

    def sweep(self, *, everything: bool = False) -> None:
        """Writes the numbers of windows that are over, or of all of them."""
        now = self._clock()
        for refusal, seen in [each for each in self._seen.items() if everything or now >= each[1].until_s]:
            self._tell(refusal, seen)
            del self._seen[refusal]

    def _tell(self, refusal: Refusal, seen: _Seen) -> None:
        if seen.repeated:
            self._recorder.note(refusal.event(None, seen.repeated))
