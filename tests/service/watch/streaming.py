"""A clip over RTSP from GStreamer's server, which a test may kill and start again."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import free_port

SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"
ASK = "import gi; gi.require_version('GstRtspServer', '1.0')"


@dataclass
class RtspServer:
    """Shows every session the clip from its beginning, in real time."""

    clip: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/clip"

    def start(self) -> None:
        """Skips the test where the server is not installed."""
        if subprocess.run([SYSTEM_PYTHON, "-c", ASK], stderr=subprocess.DEVNULL).returncode:
            pytest.skip("GStreamer's RTSP server is not installed: see .ci/run")
        self.process = subprocess.Popen([SYSTEM_PYTHON, str(SERVER), str(self.port), str(self.clip)])

    def listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the RTSP server has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Ends the server with SIGKILL, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
