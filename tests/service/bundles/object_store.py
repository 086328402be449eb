"""An object store on loopback: GET, HEAD and PUT of whole files, for whoever proves who they are."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx

from service.bundles.s3 import BODY_DIGEST, EMPTY_BODY_DIGEST, S3Credentials, sign

TOKEN = "open-sesame"  # noqa: S105
CREDENTIALS = S3Credentials(access_key="AKIATEST", secret_key="secret", session_token="session")  # noqa: S106


class Store:
    """`objects` by path. `writable`: whether PUT is taken."""

    def __init__(self, *, s3: bool = False) -> None:
        self.objects: dict[str, bytes] = {}
        self.s3, self.writable, self.url = s3, True, ""
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    store: ClassVar[Store]

    def _may(self) -> bool:
        given = self.headers.get("Authorization", "")
        if not self.store.s3:
            return given == f"Bearer {TOKEN}"
        stamp = datetime.strptime(self.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        again = httpx.Request(self.command, f"{self.store.url}{self.path}")
        again.headers[BODY_DIGEST] = self.headers[BODY_DIGEST]
        sign(again, CREDENTIALS, stamp)
        return given == again.headers["authorization"]

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.store.asked.append(f"{self.command} {self.path}")
        if not self._may():
            self._answer(403)
        elif self.path not in self.store.objects:
            self._answer(404)
        else:
            self._answer(200, self.store.objects[self.path])

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.store.asked.append(f"PUT {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        whole = self.headers.get(BODY_DIGEST, EMPTY_BODY_DIGEST) == hashlib.sha256(body).hexdigest()
        if not self.store.writable or not whole or not self._may():
            self._answer(403)
            return
        self.store.objects[self.path] = body
        self._answer(200)

    def log_message(self, format: str, *args: object) -> None:
        """Silence: what was asked is in `Store.asked`."""


@contextmanager
def serving(store: Store) -> Iterator[Store]:
    """The store with its address, while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
