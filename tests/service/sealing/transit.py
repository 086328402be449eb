"""An HTTP server that speaks Vault's transit API, in the shapes of its documentation.

Requests and answers are those of `POST /v1/MOUNT/encrypt/NAME` and `/decrypt/NAME`; errors are
`{"errors": [...]}` with 400, 403, 404 and 503. It is no Vault: it has one token and keys that it makes.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Transit(ThreadingHTTPServer):
    """`keys`: by their names. `mounted`: where the engine is. `asked`: what came, without its bodies."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = uuid.uuid4().hex
        self.mounted, self.namespace, self.sealed = "transit", None, False
        self.keys = {name: AESGCM(os.urandom(32)) for name in ("halflight", "another")}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, headers: Any, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one request."""
        self.asked.append(path)
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if headers.get("X-Vault-Token") != self.token or headers.get("X-Vault-Namespace") != self.namespace:
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        mount, _, rest = path.removeprefix("/v1/").partition("/")
        what, _, name = rest.partition("/")
        if mount != self.mounted or what not in ("encrypt", "decrypt"):
            return 404, {"errors": [f'no handler for route "{mount}/{what}"']}
        if (key := self.keys.get(name)) is None:
            return 400, {"errors": ["encryption key not found"]}
        if what == "encrypt":
            nonce = os.urandom(12)
            sealed = nonce + key.encrypt(nonce, base64.b64decode(body["plaintext"]), None)
            data = {"ciphertext": "vault:v1:" + base64.b64encode(sealed).decode(), "key_version": 1}
        else:
            sealed = base64.b64decode(body["ciphertext"].removeprefix("vault:v1:"))
            try:
                plain = key.decrypt(sealed[:12], sealed[12:], None)
            except InvalidTag:
                return 400, {"errors": ["cipher: message authentication failed"]}
            data = {"plaintext": base64.b64encode(plain).decode()}
        whole = {"request_id": str(uuid.uuid4()), "lease_id": "", "renewable": False, "lease_duration": 0}
        return 200, whole | {"data": data, "wrap_info": None, "warnings": None, "auth": None}


class _Handler(BaseHTTPRequestHandler):
    server: Transit

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self.server.answer(self.path, self.headers, body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST  # noqa: N815 - as the base class calls it

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""


@contextmanager
def running_transit() -> Iterator[Transit]:
    with Transit() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
