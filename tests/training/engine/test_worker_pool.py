"""A pool of processes: each initialises once, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import REPO
from tests.training.processes import running
from training.engine.worker_pool import worker_pool

_BEGUN: list[str] = []
KILLED_IN_WORK = """
import sys
from pathlib import Path
from tests.training.engine.test_worker_pool import begin, working
from training.engine.worker_pool import worker_pool

if __name__ == "__main__":
    pool = worker_pool(1, begin, "given", 2)
    pool.submit(working, Path(sys.argv[1])).result()
"""


def working(told: Path) -> None:
    """Write down which process this is, whole, and go on for longer than any test waits."""
    (told / "pid.partial").write_text(str(os.getpid()))
    (told / "pid.partial").replace(told / "pid")
    time.sleep(600)


def begin(what: str, number: int) -> None:
    _BEGUN.append(f"{what} {number}")


def begun() -> list[str]:
    return _BEGUN


def until(path: Path) -> str:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name} was written"
        time.sleep(0.05)
    return path.read_text()


def test_a_worker_initialises_once_with_its_arguments() -> None:
    with worker_pool(1, begin, "given", 2) as pool:
        assert [pool.submit(begun).result() for _ in range(2)] == [["given 2"]] * 2
    assert begun() == []


def test_a_worker_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(KILLED_IN_WORK)
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    with subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment) as parent:
        worker = int(until(tmp_path / "pid"))
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while running(worker):
        assert time.monotonic() < deadline, "the worker goes on for nobody"
        time.sleep(0.05)
