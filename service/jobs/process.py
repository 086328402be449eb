"""Processes that outlive their parent, identified by host, number and start time."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")
# Fields of /proc/PID/stat behind the command's name: proc_pid_stat(5) counts them from 3.
STATE, STARTED = 0, 19
POLL_S = 0.05
REAP_S, REAP_POLL_S = 1.0, 0.005


def this_host() -> str:
    """The scope of process numbers: machine, boot and PID namespace."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append((PROC / "sys/kernel/random/boot_id").read_text().strip()[:8])
        parts.append(str((PROC / "self/ns/pid").readlink()))
    return "/".join(parts)[:96]


def _stat(pid: int) -> list[str] | None:
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class ProcessId:
    """Identifies one process, also after its number is reused. `started`: ticks since boot."""

    host: str
    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Raises ProcessLookupError if there is no such process."""
        stat = _stat(pid)
        if stat is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(this_host(), pid, int(stat[STARTED]))

    @classmethod
    def parse(cls, stored: Mapping[str, Any] | None) -> ProcessId | None:
        if stored is None:
            return None
        return cls(str(stored["host"]), int(stored["pid"]), int(stored["started"]))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def here(self) -> bool:
        """Whether the process is one of this machine, boot and PID namespace."""
        return self.host == this_host()

    def alive(self) -> bool:
        """Whether the process runs here. A zombie does not."""
        if not self.here:
            return False
        stat = _stat(self.pid)
        return stat is not None and int(stat[STARTED]) == self.started and stat[STATE] not in "ZX"

    def kill_group(self, number: int) -> None:
        """Signals the process and everything it started. Only for a process that `spawn` started."""
        stat = _stat(self.pid)
        if not self.here or (stat is not None and int(stat[STARTED]) != self.started):
            # Another process has the number by now, and so has its group.
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self, *, grace_s: float) -> None:
        """Sends SIGTERM, and SIGKILL to what is left of the group after `grace_s`. Blocks."""
        self.kill_group(signal.SIGTERM)
        give_up = time.monotonic() + grace_s
        while self.alive() and time.monotonic() < give_up:
            time.sleep(POLL_S)
        self.kill_group(signal.SIGKILL)
        self.reap()

    def reap(self) -> int | None:
        """Returns the exit code of an ended child process, -N for signal N; None if it is no such child.

        Blocks until the threads of the process have ended too, which takes longer than its first one.
        """
        give_up = time.monotonic() + REAP_S
        try:
            while not (done := os.waitpid(self.pid, os.WNOHANG))[0]:
                if time.monotonic() >= give_up:
                    return None
                time.sleep(REAP_POLL_S)
        except ChildProcessError:
            return None
        return os.waitstatus_to_exitcode(done[1])


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> ProcessId:
    """Starts a process in a session of its own and appends its output to `log`.

    Raises OSError if the program cannot be started.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(command[0], list(command), dict(env), file_actions=actions, setsid=True)
    return ProcessId.of(pid)
