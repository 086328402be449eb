"""Starts Milvus's own server for tests, milvus-lite, in a process of its own that a test may kill."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.conftest import free_port

START_S = 180.0
# One worker: milvus-lite does not keep apart writers of one collection.
SERVE = "import sys; from milvus_lite.adapter.grpc.server import run_server as run;"
SERVE += " run(sys.argv[1], '127.0.0.1', int(sys.argv[2]), max_workers=1)"


class MilvusServer:
    """A server over a directory. Use it as a context."""

    def __init__(self, place: Path) -> None:
        self._place, self._port = place, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def data(self) -> Path:
        """The directory that it keeps everything in."""
        return self._place / "data"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    def start(self) -> None:
        # Only here: whoever runs other tests needs no client of Milvus.
        import grpc

        with (self._place / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(self.data), str(self._port)], stdout=log, stderr=log
            )
        with grpc.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            ready, end = grpc.channel_ready_future(channel), time.monotonic() + START_S
            while time.monotonic() < end:
                try:
                    ready.result(timeout=1.0)
                    return
                except grpc.FutureTimeoutError:
                    assert self._process.poll() is None, (self._place / "log").read_text()[-2000:]
        raise AssertionError("Milvus did not start")

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
