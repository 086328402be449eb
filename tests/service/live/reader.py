"""A client of the stream of decisions."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

import httpx

from tests.conftest import ANSWER_S

WAIT_S = 60.0


class Reader(threading.Thread):
    """Reads `/events` until the stream ends or `close` is called. `comments`: keep-alives so far."""

    def __init__(self, client: httpx.Client, *, last_event_id: str | None = None, recent: int = 0) -> None:
        super().__init__(daemon=True)
        headers = dict(client.headers) | ({} if last_event_id is None else {"Last-Event-ID": last_event_id})
        self._client = httpx.Client(base_url=client.base_url, headers=headers, timeout=ANSWER_S)
        self._recent = recent
        self._closed = False
        self._socket: socket.socket | None = None
        self.events: list[dict[str, Any]] = []
        self.comments = 0
        self.start()
        self.saw(1)

    def run(self) -> None:
        fields: dict[str, str] = {}
        try:
            with self._client.stream("GET", "/events", params={"recent": self._recent}) as answer:
                assert answer.status_code == 200, answer.read()
                assert answer.headers["content-type"].startswith("text/event-stream")
                assert answer.headers["cache-control"] in ("no-store", "no-cache")
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    if line.startswith(":"):
                        self.comments += 1
                    elif line:
                        fields[name] = value
                    elif "data" in fields:
                        self.events.append({**fields, "data": json.loads(fields["data"])})
                        fields = {}
        except (httpx.HTTPError, OSError, RuntimeError, ValueError):
            if not self._closed:
                raise

    def close(self) -> None:
        self._closed = True
        if self._socket is not None and self.is_alive():
            # Closing the client alone would let the thread wait for the next comment.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._client.close()
        self.join(WAIT_S)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def saw(self, count: int) -> list[dict[str, Any]]:
        """The events so far, once there are as many, or the stream has ended."""
        end = time.monotonic() + WAIT_S
        while len(self.events) < count and time.monotonic() < end and self.is_alive():
            time.sleep(0.02)
        return self.events

    def decisions(self, count: int) -> list[dict[str, Any]]:
        """What `count` decisions say, once there are as many."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and self.is_alive():
            found = [event["data"] for event in list(self.events) if event["event"] == "decision"]
            if len(found) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError(f"no {count} decisions came")
