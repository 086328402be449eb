"""A relay as a process of its own: python relay.py PORT FILE MODE. Each call is a line of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODE = sys.argv[3]


class Relay(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        call = {"path": self.path, "key": self.headers.get("x-relay-key"), "body": body, "at": time.time()}
        with Path(sys.argv[2]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(call) + "\n")
        if MODE == "dies":
            os._exit(1)
        if MODE == "slow":
            time.sleep(5)
        self.send_response({"fails": 500, "redirects": 307}.get(MODE, 204))
        if MODE == "redirects":
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Relay)
sys.stdout.write("ready\n")
sys.stdout.flush()
server.serve_forever()
