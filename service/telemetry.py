"""Defines the Prometheus metrics of one process, in a registry of its own, and configures its logs.

No label and no log line holds a subject, a key or anything measured from a face.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LOOP_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
QUALITIES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)


class LogStream:
    """Writes log lines to stderr; counts the lines that it does not take instead of failing a request.

    The disk of the log may be full, or whoever read it may be gone.
    """

    def __init__(self) -> None:
        self.lost = 0

    def write(self, text: str) -> int:
        try:
            return sys.stderr.write(text)
        except (OSError, ValueError):
            self.lost += text.endswith("\n")
            return len(text)

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except (OSError, ValueError):
            self.lost += 1


LOG = LogStream()


class Metrics:
    """The metrics that `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        r = self.registry
        self.requests = Counter(
            "halflight_requests", "Answered requests", ["route", "method", "status"], registry=r
        )
        self.latency = Histogram(
            "halflight_request_seconds", "Time to answer", ["route"], registry=r, buckets=SECONDS
        )
        self.stages = Histogram(
            "halflight_stage_seconds", "Time by stage", ["stage"], registry=r, buckets=SECONDS
        )
        self.batches = Histogram(
            "halflight_batch_items",
            "Items a forward pass",
            ["network"],
            registry=r,
            buckets=BATCHES,
        )
        self.refusals = Counter("halflight_refusals", "Refusals by code", ["code"], registry=r)
        self.failed_logins = Counter("halflight_failed_logins", "Requests with no or a wrong key", registry=r)
        self.throttled_logins = Counter(
            "halflight_throttled_logins", "Such requests that got 429, by address", registry=r
        )
        self.lost_log_lines = Gauge("halflight_lost_log_lines", "Log lines not written", registry=r)
        self.lost_log_lines.set_function(lambda: LOG.lost)
        self.audit_entries = Counter("halflight_audit_entries", "Audit events written", registry=r)
        self.audit_lost = Counter("halflight_audit_lost", "Audit events lost", registry=r)
        self.body_bytes = Gauge("halflight_body_bytes", "Bytes of request bodies in memory", registry=r)
        self.decode_kills = Counter(
            "halflight_decode_kills",
            "Decoding processes that were ended amid a photo",
            ["reason"],
            registry=r,
        )
        self.decode_waiting = Gauge("halflight_decode_waiting", "Photos that wait for a worker", registry=r)
        self.pixels_in_work = Gauge("halflight_pixels_in_work", "Pixels of photos in work", registry=r)
        self.decisions = Counter(
            "halflight_decisions",
            "Decisions by condition",
            ["use", "condition", "decision"],
            registry=r,
        )
        self.quality = Histogram(
            "halflight_probe_quality",
            "Quality of the faces of probes, 0 to 100",
            ["spectrum"],
            registry=r,
            buckets=QUALITIES,
        )
        self.probes_not_kept = Counter(
            "halflight_probes_not_kept", "Decisions whose crop could not be kept", registry=r
        )
        self.webhook_attempts = Counter(
            "halflight_webhook_attempts", "Events sent to receivers", ["outcome", "receiver"], registry=r
        )
        self.webhook_events = Gauge(
            "halflight_webhook_events",
            "Events that a receiver has not confirmed",
            ["state", "receiver"],
            registry=r,
        )
        self.mqtt_connected = Gauge(
            "halflight_mqtt_connected", "1 while the MQTT broker has let this process in", registry=r
        )
        self.expired_events = Counter(
            "halflight_expired_events", "Events erased before every receiver confirmed them", registry=r
        )
        self.door_outcomes = Counter(
            "halflight_door_outcomes", "What doors did or denied", ["door", "outcome", "reason"], registry=r
        )
        self.enrolled = Counter("halflight_enrolled_samples", "Samples enrolled", registry=r)
        self.templates = Gauge("halflight_gallery_templates", "Templates searched", registry=r)
        self.gallery_fills = Counter(
            "halflight_gallery_fills",
            "Galleries filled from a snapshot, the database, or it for a refused snapshot",
            ["way"],
            registry=r,
        )
        self.behind = Gauge("halflight_gallery_behind", "Log rows not yet applied", registry=r)
        self.waiting = Gauge("halflight_queue_items", "Items that wait", ["network"], registry=r)
        self.in_flight = Gauge("halflight_requests_in_flight", "Admitted requests", registry=r)
        self.loop_lag = Histogram(
            "halflight_event_loop_lag_seconds",
            "Lateness of the event loop, every 20 ms",
            registry=r,
            buckets=LOOP_SECONDS,
        )
        self.loop_busy = Histogram(
            "halflight_event_loop_busy_seconds",
            "Computing of the event loop between two looks at its lateness",
            registry=r,
            buckets=LOOP_SECONDS,
        )
        self.loop_lag_max = Gauge(
            "halflight_event_loop_lag_max_seconds", "Worst lateness of the last half minute", registry=r
        )
        self.loop_busy_max = Gauge(
            "halflight_event_loop_busy_max_seconds", "Most computing of the last half minute", registry=r
        )
        self.ready = Gauge("halflight_ready", "1 while the service can match", registry=r)
        self.degraded = Gauge("halflight_degraded", "1 while readiness says degraded", registry=r)
        self.disk_free = Gauge(
            "halflight_disk_free_bytes", "Bytes left on the disk of the data directory", registry=r
        )
        self.disk_reserve = Gauge(
            "halflight_disk_reserve_bytes", "Bytes that archives and uploads leave on that disk", registry=r
        )

    def observe_stages(self, ms: Mapping[str, float]) -> None:
        """Records milliseconds by stage, as `StageTimes.as_ms` returns them."""
        for stage, value in ms.items():
            self.stages.labels(stage).observe(value / 1000)

    def observe_loop(self, lag_s: float, busy_s: float) -> None:
        """Records what `LoopLag` saw in one beat."""
        self.loop_lag.observe(lag_s)
        self.loop_busy.observe(busy_s)

    def text(self) -> bytes:
        """Renders the metrics in the Prometheus text format."""
        return generate_latest(self.registry)


def by_worker(texts: Mapping[int, bytes], workers: int) -> bytes:
    """The metrics of several workers as one text, in which each sample names its `worker`.

    `halflight_worker_up` says which of all `workers` are in it.
    """
    heads, samples = dict[str, list[str]](), dict[str, list[str]]()
    for worker in sorted(texts):
        family = ""
        for row in texts[worker].decode().splitlines():
            if row.startswith("# "):
                family = row.split(" ", 3)[2]
                if row not in heads.setdefault(family, []):
                    heads[family].append(row)
            elif row:
                name, brace, rest = row.partition("{")
                if brace:
                    named = f'{name}{{worker="{worker}",{rest}'
                else:
                    name, _, value = row.partition(" ")
                    named = f'{name}{{worker="{worker}"}} {value}'
                samples.setdefault(family, []).append(named)
    rows = [row for family in heads for row in (*heads[family], *samples.get(family, ()))]
    rows += [
        "# HELP halflight_worker_up 1 for a worker process whose metrics are here",
        "# TYPE halflight_worker_up gauge",
        *(f'halflight_worker_up{{worker="{n}"}} {float(n in texts)}' for n in range(workers)),
    ]
    return ("\n".join(rows) + "\n").encode()


def configure_logs(level: str) -> None:
    """Sends logs to stderr as JSON lines; stdout is for the result of a command."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", LOG)),
        cache_logger_on_first_use=False,
    )
