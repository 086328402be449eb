"""A client of the event stream of a job."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx

from tests.conftest import ANSWER_S


class Listener(threading.Thread):
    """Reads a job's events to the end of the stream."""

    def __init__(self, url: str, last_event_id: str | None = None) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        self.events: list[dict[str, Any]] = []
        self.start()

    def run(self) -> None:
        fields: dict[str, str] = {}
        with httpx.stream("GET", self._url, headers=self._headers, timeout=ANSWER_S) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if line and name:
                    fields[name] = value
                elif not line and "data" in fields:
                    self.events.append({**fields, "data": json.loads(fields["data"])})
                    fields = {}

    def saw(self, count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 60
        while len(self.events) < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.events

    def until_stage(self, stage: str, wait_s: float) -> None:
        """Until the job has come to this stage, or further."""
        end = time.monotonic() + wait_s
        while not any(event["data"]["stage"] == stage for event in self.events) and self.is_alive():
            assert time.monotonic() < end, f"never {stage}: {self.events[-1:]}"
            time.sleep(0.05)
