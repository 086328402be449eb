"""Wire types of /watchers."""

from __future__ import annotations

from datetime import datetime

from service.api.schemas.base import Wire
from service.live.watchers import Heard, WatcherReport


class WatcherOut(Wire):
    """`key_id`: the key that it reports with. `heard_at`: when it last did, `heard_s_ago` seconds ago by the
    clock of the service; one that is silent for much longer than it usually is (10 s) may be down.
    `report`: what it said then."""

    watcher: str
    key_id: str
    heard_at: datetime
    heard_s_ago: float
    report: WatcherReport

    @classmethod
    def of(cls, one: Heard) -> WatcherOut:
        return cls(
            watcher=one.watcher,
            key_id=one.key_id,
            heard_at=one.at,
            heard_s_ago=round(one.age_s(), 1),
            report=one.report,
        )


class WatchersOut(Wire):
    """Watchers that reported to this service within a day, by name; another replica knows others."""

    watchers: list[WatcherOut]
