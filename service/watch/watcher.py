"""Runs every source of a configuration until they have ended, or a signal comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, start_http_server

from halflight.client import Client, Retry, TrackDecision
from service.watch.config import WatchConfig
from service.watch.reporting import Reporter
from service.watch.sending import Sender
from service.watch.source import SourceWatch
from service.watch.spool import MIB, Spool, Waiting
from service.watch.status import SourceStatus, WatchStatus, write_status

ONCE = Retry(patience_s=0)
DETECT_TIMEOUT_S, TRACK_TIMEOUT_S, REPORT_TIMEOUT_S = 30.0, 120.0, 5.0
# How long tracks may still be sent after a signal; what is left waits in the spool for the next start.
DRAIN_S = 5.0
TICK_S = 1.0

Report = Callable[[Waiting, TrackDecision], None]
Show = Callable[[WatchStatus], None]


class Watcher:
    """Watches what a configuration names. `report`: called with each decision, from other threads."""

    def __init__(self, config: WatchConfig, url: str, key: str | None, report: Report) -> None:
        self._config = config
        self._detecting = Client(url, key=key, timeout_s=DETECT_TIMEOUT_S, retry=ONCE)
        self._tracking = Client(url, key=key, timeout_s=TRACK_TIMEOUT_S, retry=ONCE)
        self._reporting = Client(url, key=key, timeout_s=REPORT_TIMEOUT_S, retry=ONCE)
        self._spool = Spool(config.spool, config.spool_mib * MIB)
        states = [SourceStatus(one.name) for one in config.source]
        self.status = WatchStatus(states, self._spool)
        self._sources = {
            one.name: SourceWatch(one, self._detecting, self._spool, state, report)
            for one, state in zip(config.source, states, strict=True)
        }
        self._sender = Sender(self._tracking, self._spool, self.status, self._answered)
        self._reporter = Reporter(self._reporting, config.name, self.status)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ends `run` soon; safe in a signal handler."""
        self._stopping.set()

    def run(self, show: Show) -> bool:
        """Watches until all sources have ended and their tracks are answered, or `stop` was called.

        `show`: called about every second. Returns whether no source failed. Raises OSError.
        """
        metrics = None
        if (port := self._config.metrics_port) is not None:
            registry = CollectorRegistry()
            registry.register(self.status)
            metrics, _ = start_http_server(port, addr=self._config.metrics_host, registry=registry)
        self._sender.start()
        self._reporter.start()
        for source in self._sources.values():
            source.start()
        try:
            while not self._stopping.wait(TICK_S) and not self._done():
                self._show(show)
            for source in self._sources.values():
                source.stop()
            until = time.monotonic() + DRAIN_S
            for source in self._sources.values():
                source.join(max(0.0, until - time.monotonic()))
            while len(self._spool) and time.monotonic() < until and self.status.service is None:
                time.sleep(0.05)
            self._sender.stop()
            self._sender.join(max(0.5, until - time.monotonic()))
            self._reporter.stop()
            self._reporter.join(REPORT_TIMEOUT_S)
            self._show(show)
        finally:
            if metrics is not None:
                metrics.shutdown()
            self._detecting.close()
            self._tracking.close()
            self._reporting.close()
        return all(one.state != "failed" for one in self.status.sources)

    def _done(self) -> bool:
        return not len(self._spool) and not any(one.is_alive() for one in self._sources.values())

    def _show(self, show: Show) -> None:
        if self._config.status is not None:
            write_status(self._config.status, self.status)
        show(self.status)

    def _answered(self, waiting: Waiting, answer: TrackDecision | None) -> None:
        # A spool may hold tracks of a source that the configuration no longer has.
        if (source := self._sources.get(waiting.source)) is not None:
            source.answered(waiting, answer)
