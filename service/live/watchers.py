"""What watchers last said of themselves, in the memory of this service. Nothing of it names a person."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from faces.strict import INTEGER, Strict, ZonedMoment

# More of them than one service can serve; the one that was silent for longest gives way.
MOST = 64
FORGET_AFTER_S = 24 * 3600.0

NAME = "^[A-Za-z0-9._:@-]{1,64}$"
WORD = "^[a-z][a-z _-]{0,31}$"
Name = Annotated[str, Field(pattern=NAME)]
Word = Annotated[str, Field(pattern=WORD)]
Count = Annotated[int, Field(ge=0, le=1 << 53), INTEGER]
# The document would allow whatever other keys, of which the pattern says nothing.
Counts = Annotated[
    dict[Word, Count], Field(max_length=32, json_schema_extra={"propertyNames": {"pattern": WORD}})
]
Trouble = Annotated[str, Field(max_length=300)]


class SourceReport(Strict):
    """One camera, counted since its watcher was started.

    `state`: `starting`, `watching`, `waiting`, `ended` or `failed`. Of `frames` that were read, `still` did
    not move, `dropped` were never looked at, by reason, and `looked_at` were sent to find faces. `short`:
    tracks of too few good frames to be sent. `reconnects`: times that the camera was opened again.
    `decisions`: answers about tracks, by decision; `last_decision`: the latest of them, without its subject.
    `trouble`: why the camera or the service is waited for.
    """

    name: Name
    state: Word
    frames: Count = 0
    still: Count = 0
    looked_at: Count = 0
    faces: Count = 0
    tracks: Count = 0
    short: Count = 0
    reconnects: Count = 0
    dropped: Counts = Field(default_factory=dict)
    decisions: Counts = Field(default_factory=dict)
    last_frame: ZonedMoment | None = None
    last_decision: Word | None = None
    last_decided: ZonedMoment | None = None
    trouble: Trouble | None = None


class WatcherReport(Strict):
    """A whole watcher. `waiting`: tracks in its spool; `lost`: those that a full or spoilt spool lost;
    `refused`: those that the service refused for good."""

    waiting: Count = 0
    lost: Count = 0
    refused: Count = 0
    sources: Annotated[tuple[SourceReport, ...], Field(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True)
class Heard:
    """The last report of one watcher. `at`: by the clock of this machine; `monotonic_s`: the same moment,
    which every worker process of it counts alike."""

    watcher: str
    key_id: str
    at: datetime
    monotonic_s: float
    report: WatcherReport

    def age_s(self) -> float:
        return time.monotonic() - self.monotonic_s


class WatcherBook:
    """Watchers by their key and name: nobody speaks for the watcher of another key. Of one event loop.

    `share`: of a service of several workers, sends a report to the others, which `take` it.
    """

    def __init__(self, share: Callable[[Heard], None] = lambda _: None) -> None:
        self._share = share
        self._heard: dict[tuple[str, str], Heard] = {}

    def tell(self, key_id: str, watcher: str, report: WatcherReport) -> Heard:
        """Takes the place of what this watcher said before."""
        heard = Heard(watcher, key_id, datetime.now(UTC), time.monotonic(), report)
        self.take(heard)
        self._share(heard)
        return heard

    def take(self, heard: Heard) -> None:
        """Takes a report that a worker of this service got."""
        # Taken out first, so that the order is that of the reports.
        self._heard.pop((heard.key_id, heard.watcher), None)
        self._heard[heard.key_id, heard.watcher] = heard
        while len(self._heard) > MOST:
            del self._heard[next(iter(self._heard))]

    def all(self) -> list[Heard]:
        """Every watcher that was heard of within a day, by name."""
        self._heard = {name: one for name, one in self._heard.items() if one.age_s() < FORGET_AFTER_S}
        return sorted(self._heard.values(), key=lambda one: (one.watcher, one.key_id))
