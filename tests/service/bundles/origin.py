"""Serves one file over real HTTP on loopback, with the behaviours in which servers differ."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np

from service.bundles.catalogue import ModelFile

# More than one block of a download.
CONTENT = np.random.default_rng(0).integers(0, 16, 200_001, np.uint8).tobytes()


@dataclass
class Origin:
    """`ranges`: understands Range. `ends_after`: closes the connection behind so many bytes of a body.

    `compresses`: for who accepts it, as many servers do. `requests` holds each request's Range.
    """

    content: bytes = CONTENT
    ranges: bool = True
    ends_after: int | None = None
    says_length: bool = True
    compresses: bool = False
    status: int = 200
    redirects: int = 0
    requests: list[str | None] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    origin: ClassVar[Origin]

    def do_GET(self) -> None:
        origin = self.origin
        asked = self.headers.get("Range")
        if origin.redirects and not self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/moved")
            self.end_headers()
            return
        origin.requests.append(asked)
        if origin.status != 200:
            self.send_error(origin.status)
            return
        body, status = origin.content, 200
        packed = origin.compresses and "gzip" in self.headers.get("Accept-Encoding", "")
        if packed:
            body = gzip.compress(body, mtime=0)
        total = len(body)
        if asked is not None and origin.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            body, status = body[start:], 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {total - len(body)}-{total - 1}/{total}")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        if origin.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: origin.ends_after])

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: `Origin.requests` holds the requests."""


@contextmanager
def serving(origin: Origin) -> Iterator[Origin]:
    """Runs the server and yields the origin with its address."""
    handler = type("Handler", (_Handler,), {"origin": origin})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        origin.url = f"http://127.0.0.1:{server.server_port}/model.onnx"
        try:
            yield origin
        finally:
            server.shutdown()
            thread.join()


def pin(content: bytes = CONTENT, *, url: str | None = None, name: str = "small") -> ModelFile:
    """Returns the pin of these bytes."""
    return ModelFile(
        name=name,
        file_name=f"{name}.onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="MIT",
        what="bytes of a test",
        origin="this test",
        url=url,
    )
