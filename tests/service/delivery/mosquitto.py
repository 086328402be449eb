"""Mosquitto, Debian's package, as a process of its own with passwords, and a subscriber of another one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.conftest import free_port

USER, PASSWORD = "halflight", "night-porch-41"
READER, READER_PASSWORD = "reader", "other-porch-42"
# Every change is on the disk within a second, a subscriber's session too: what SIGKILL takes is what was
# not confirmed.
CONFIGURATION = """
listener {port} 127.0.0.1
allow_anonymous false
password_file {room}/passwords
acl_file {room}/acl
persistence true
persistence_location {room}/
autosave_on_changes true
autosave_interval 1
log_dest stderr
"""


class Mosquitto:
    """A broker that can be killed, and started again with what it had written."""

    def __init__(self, room: Path, configuration: str = CONFIGURATION) -> None:
        self.room, self.port = room, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: subprocess.Popen[bytes] | None = None
        room.mkdir()
        for user, password in ((USER, PASSWORD), (READER, READER_PASSWORD)):
            create = [] if (room / "passwords").exists() else ["-c"]
            command = ["mosquitto_passwd", *create, "-b", str(room / "passwords"), user, password]
            subprocess.run(command, check=True, capture_output=True)
        self.allow("#")
        text = configuration.format(port=self.port, room=room)
        # It would become another user, who may not write here.
        text += "user root\n" if os.geteuid() == 0 else ""
        (room / "mosquitto.conf").write_text(text)

    def allow(self, topic: str) -> None:
        """What the service may use. Holds from the next start on."""
        rules = f"user {USER}\ntopic readwrite {topic}\n\nuser {READER}\ntopic readwrite #\n"
        (self.room / "acl").write_text(rules)

    @property
    def env(self) -> dict[str, str]:
        return {
            "HALFLIGHT_MQTT_URL": f"mqtt://127.0.0.1:{self.port}",
            "HALFLIGHT_MQTT_USER": USER,
            "HALFLIGHT_MQTT_PASSWORD": PASSWORD,
            "HALFLIGHT_MQTT_NODE": "home",
        }

    def start(self) -> None:
        command = ["mosquitto", "-c", str(self.room / "mosquitto.conf")]
        with (self.room / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log)
        end = time.monotonic() + 60
        while not self.listens():
            assert time.monotonic() < end, (self.room / "log").read_text()
            time.sleep(0.05)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """SIGKILL, as a machine that loses its power does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def read(self, session: str = "reader") -> None:
        """Begins to note every message; the session outlives the broker's process."""
        command = [sys.executable, str(Path(__file__).with_name("reader.py")), str(self.port)]
        self._reader = subprocess.Popen(
            [*command, READER, READER_PASSWORD, str(self.room / "messages"), session], env=dict(os.environ)
        )
        end = time.monotonic() + 60
        while not (self.room / "messages").exists():
            assert time.monotonic() < end, "nobody reads"
            time.sleep(0.05)

    def read_anew(self) -> None:
        """Forgets what was read, and reads as somebody does who comes for the first time."""
        assert self._reader is not None
        self._reader.kill()
        self._reader.wait()
        (self.room / "messages").unlink()
        self.read(session="newcomer")

    def messages(self, under: str = "") -> list[dict[str, Any]]:
        """What was read: `topic`, `payload` as text, `retained`; oldest first."""
        lines = (self.room / "messages").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        return [one for one in found if one["topic"].startswith(under)]

    def stop(self) -> None:
        if self._reader is not None:
            self._reader.kill()
            self._reader.wait()
        self.kill()
