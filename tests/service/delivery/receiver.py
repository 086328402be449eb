"""A receiver of webhooks as a process of its own: python receiver.py PORT FILE SHARE.

It refuses each event with the given probability, half of these after having taken it, as a receiver does that
dies before it answers; what it takes is a line of JSON in the file.
"""

from __future__ import annotations

import json
import random
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        fails = random.random() < float(sys.argv[3])
        if not fails or random.random() < 0.5:
            line = {name: value for name, value in self.headers.items() if name.startswith("webhook-")}
            with Path(sys.argv[2]).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | {"body": body.decode()}) + "\n")
        self.send_response(500 if fails else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


random.seed(7)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
