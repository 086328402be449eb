"""Answers as CompreFace's documentation says that its recognition service does, over sample pictures.

A CompreFace server needs images and models of its own, which are not to be had here.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY = "00000000-0000-0000-0000-000000000001"
FACES = "/api/v1/recognition/faces"
# Smaller than what is asked for, so that there are several pages.
MOST_OF_A_PAGE = 2


@contextmanager
def compreface(examples: Sequence[tuple[str, bytes]]) -> Iterator[str]:
    """Serves the examples, subject and photo, in pages; empty bytes are a photo that was not kept."""
    kept = {str(uuid.UUID(int=number)): example for number, example in enumerate(examples, 1)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            query = parse_qs(asked.query)
            image_id = asked.path.removeprefix(f"{FACES}/").removesuffix("/img")
            if self.headers.get("x-api-key") != KEY:
                self.answer(401, b'{"message": "no access", "code": 1}')
            elif asked.path == FACES:
                self.answer(200, json.dumps(self.page(query)).encode())
            elif image_id in kept:
                self.answer(200, kept[image_id][1], "image/jpeg")
            else:
                self.answer(404, b"{}")

        def page(self, query: dict[str, list[str]]) -> dict[str, object]:
            number = int(query.get("page", ["0"])[0])
            size = min(int(query.get("size", ["20"])[0]), MOST_OF_A_PAGE)
            faces = [{"image_id": name, "subject": subject} for name, (subject, _) in kept.items()]
            return {
                "faces": faces[number * size : (number + 1) * size],
                "page_number": number,
                "page_size": size,
                "total_pages": -(-len(faces) // size),
                "total_elements": len(faces),
            }

        def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: a path holds an id."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
