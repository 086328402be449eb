"""What a watcher tells of itself: counts of each source, for Prometheus, for a file, for people."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.watch.spool import Spool

# What a report to the service holds of a source: `SourceReport` in `service/live/watchers.py`.
REPORTED = {
    *("name", "state", "frames", "still", "looked_at", "faces", "tracks", "short", "reconnects", "dropped"),
    *("decisions", "last_frame", "last_decision", "last_decided"),
}
MAX_TROUBLE = 300

State = Literal["starting", "watching", "waiting", "ended", "failed"]


@dataclass(slots=True, eq=False)
class SourceStatus:
    """Counts of one source since it was started. No subject is in it.

    `frames` were read; of these `still` did not move, `dropped` were never looked at, by reason, and
    `looked_at` were sent to find faces. `decisions`: answers about tracks, by decision, with `repeat` for
    those of somebody who was reported a moment before. `short`: tracks of too few good frames to be sent.
    `last_decision`: the latest of them, and `last_decided` when. `trouble`: why the source or the service is
    waited for.
    """

    name: str
    state: State = "starting"
    frames: int = 0
    still: int = 0
    looked_at: int = 0
    faces: int = 0
    tracks: int = 0
    short: int = 0
    reconnects: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    last_frame: datetime | None = None
    last_decision: str | None = None
    last_decided: datetime | None = None
    trouble: str | None = None

    def decided(self, decision: str) -> None:
        """Counts an answer about a track."""
        self.decisions[decision] += 1
        self.last_decision, self.last_decided = decision, datetime.now(UTC)

    def as_report(self) -> dict[str, Any]:
        """What the service is told of it."""
        told = {name: found for name, found in self.as_json().items() if name in REPORTED}
        return told | {"trouble": None if self.trouble is None else self.trouble[:MAX_TROUBLE]}

    def as_json(self) -> dict[str, Any]:
        names = ("name", "state", "frames", "still", "looked_at", "faces", "tracks", "short", "reconnects")
        counted = {"dropped": dict(self.dropped), "decisions": dict(self.decisions)}
        return (
            {name: getattr(self, name) for name in names}
            | counted
            | {
                "last_frame": _written(self.last_frame),
                "last_decision": self.last_decision,
                "last_decided": _written(self.last_decided),
                "trouble": self.trouble,
            }
        )


@dataclass(slots=True, eq=False)
class WatchStatus(Collector):
    """Everything that a watcher counts. `refused`: tracks that the service refused for good; `service`: why
    it is waited for; `untold`: why it does not take this status."""

    sources: Sequence[SourceStatus]
    spool: Spool
    refused: int = 0
    service: str | None = None
    untold: str | None = None

    def as_json(self) -> dict[str, Any]:
        spool = self.spool
        return {
            "schema_version": 1,
            "at": datetime.now(UTC).isoformat(),
            "service": self.service,
            "untold": self.untold,
            "spool": {"waiting": len(spool), "dropped": spool.dropped, "spoilt": spool.spoilt},
            "refused": self.refused,
            "sources": [one.as_json() for one in self.sources],
        }

    def as_report(self) -> dict[str, Any]:
        """What the service is told of it, for the console."""
        spool = self.spool
        return {
            "waiting": len(spool),
            "lost": spool.dropped + spool.spoilt,
            "refused": self.refused,
            "sources": [one.as_report() for one in self.sources],
        }

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        for name, said in (
            ("frames", "Frames that were read"),
            ("still", "Frames in which nothing moved"),
            ("looked_at", "Frames that were sent to find faces"),
            ("faces", "Faces in these frames"),
            ("tracks", "People that were followed"),
            ("short", "Tracks of too few good frames to be sent"),
            ("reconnects", "Times that the source was opened again"),
        ):
            counter = CounterMetricFamily(f"halflight_watch_{name}", said, labels=["source"])
            for one in self.sources:
                counter.add_metric([one.name], getattr(one, name))
            yield counter
        for name, said, label in (
            ("dropped", "Frames that were never looked at", "reason"),
            ("decisions", "Answers about tracks", "decision"),
        ):
            counter = CounterMetricFamily(f"halflight_watch_{name}", said, labels=["source", label])
            for one in self.sources:
                for kind, count in sorted(getattr(one, name).items()):
                    counter.add_metric([one.name, kind], count)
            yield counter
        last = GaugeMetricFamily("halflight_watch_last_frame_seconds", "Time of it", labels=["source"])
        for one in self.sources:
            if one.last_frame is not None:
                last.add_metric([one.name], one.last_frame.timestamp())
        yield last
        waiting, dropped = len(self.spool), self.spool.dropped
        yield GaugeMetricFamily("halflight_watch_spool", "Tracks that wait to be sent", value=waiting)
        yield CounterMetricFamily(
            "halflight_watch_spool_dropped", "Tracks lost to a full spool", value=dropped
        )
        yield CounterMetricFamily("halflight_watch_refused", "Tracks refused for good", value=self.refused)


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def write_status(path: Path, status: WatchStatus) -> None:
    """Replaces the file, so that a reader sees the old or the new one. Raises OSError."""
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(status.as_json(), file)
    part.replace(path)
