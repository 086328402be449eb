"""A server that answers as Frigate's HTTP API does on the three routes that are used; it is not Frigate.

After frigate/api/event.py and media.py in blakeblackshear/frigate: a snapshot of an event that is tracked is
its best picture so far; `sub_label` takes a text of up to 100 characters and a score above 0 and up to 1,
answers 404 for an event that is not stored yet, and 400 or 422 for what is malformed. With a password it is
port 8971, after frigate/api/auth.py: 401 without the token that a login sets as a cookie, which ends.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROUTE = re.compile(r"/api/events/([^/]+)/(snapshot\.jpg|sub_label)")


class Recorder:
    """`pictures`: of each event, shown one after the other; `labels`: what was set; `asked`: every path.

    `password`: of the user halflight, if a login is wanted; `tokens`: those that are valid; `logins`:
    attempts.
    """

    def __init__(self, password: str | None = None) -> None:
        self.password, self.logins = password, 0
        self.tokens: set[str] = set()
        self.pictures: dict[str, list[bytes]] = {}
        self.labels: dict[str, tuple[str, float | None]] = {}
        self.asked: list[str] = []
        self.refuse = 0
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                recorder.asked.append(self.path)
                if not self._knows():
                    return
                parts = urlsplit(self.path)
                found = ROUTE.fullmatch(parts.path)
                left = recorder.pictures.get(found[1], []) if found and found[2] == "snapshot.jpg" else []
                query = parse_qs(parts.query)
                if not left:
                    self._answer(404, {"success": False, "message": "Event not found"})
                    return
                assert query["crop"] == ["1"]
                assert query["bbox"] == query["timestamp"] == ["0"]
                picture = left[0] if len(left) == 1 else left.pop(0)
                self.send_response(200)
                self.send_header("content-type", "image/jpeg")
                self.send_header("content-length", str(len(picture)))
                self.end_headers()
                self.wfile.write(picture)

            def do_POST(self) -> None:
                recorder.asked.append(self.path)
                found = ROUTE.fullmatch(self.path)
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/api/login":
                    self._log_in(body)
                    return
                if not self._knows():
                    return
                if recorder.refuse:
                    recorder.refuse -= 1
                    self._answer(404, {"success": False, "message": "Event not found"})
                elif found is None or found[2] != "sub_label" or found[1] not in recorder.pictures:
                    self._answer(404, {"success": False, "message": "Event not found"})
                elif not valid(body):
                    self._answer(422, {"detail": "malformed"})
                else:
                    recorder.labels[found[1]] = body["subLabel"], body.get("subLabelScore")
                    self._answer(200, {"success": True})

            def _knows(self) -> bool:
                cookie = self.headers["cookie"] or ""
                found = re.search("frigate_token=([^;]+)", cookie)
                if recorder.password is None or (found is not None and found[1] in recorder.tokens):
                    return True
                self._answer(401, {})
                return False

            def _log_in(self, body: dict[str, Any]) -> None:
                recorder.logins += 1
                if body != {"user": "halflight", "password": recorder.password}:
                    self._answer(401, {"message": "Login failed"})
                    return
                token = f"token-{recorder.logins}"
                recorder.tokens.add(token)
                self._answer(200, {}, ("set-cookie", f"frigate_token={token}; HttpOnly; Path=/"))

            def _answer(self, status: int, body: dict[str, Any], *headers: tuple[str, str]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def valid(body: dict[str, Any]) -> bool:
    label, score = body.get("subLabel"), body.get("subLabelScore")
    return (
        body.keys() <= {"subLabel", "subLabelScore", "camera"}
        and isinstance(label, str)
        and len(label) <= 100
        and (score is None or (isinstance(score, int | float) and 0 < score <= 1))
    )


def change(event_id: str, kind: str, **fields: Any) -> bytes:
    """A message of `frigate/events` with the fields of https://docs.frigate.video/integrations/mqtt."""
    seen = {
        "id": event_id,
        "camera": "front_door",
        "frame_time": 1607123961.837752,
        "snapshot": {"frame_time": 1607123965.975463, "box": [415, 489, 528, 700], "score": 0.77546},
        "label": "person",
        "sub_label": None,
        "top_score": 0.958984375,
        "false_positive": False,
        "start_time": 1607123955.475377,
        "end_time": 1607123975.0 if kind == "end" else None,
        "current_zones": ["driveway"],
        "has_snapshot": True,
        "has_clip": False,
        "stationary": False,
    }
    after = seen | fields
    return json.dumps({"type": kind, "before": after, "after": after}).encode()
