"""A service where four rendered people are enrolled, a clip of them and of strangers, and a watcher of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import builtin_bundle
from tests.conftest import Service, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import enroll
from tests.service.api.test_keys import made
from tests.service.watch.clip import sample, write_clip

ENROLLED = ("s01", "s02", "s03", "s04")
# Two strangers walk among them, and everybody in the other direction than who came before.
ORDER = ("s01", "s13", "s02", "s03", "s14", "s04")
WAIT_S = 300.0


@dataclass
class Place:
    """A service and what its clients need."""

    service: Service
    admin: httpx.Client
    probe_key: str = field(repr=False)


@dataclass
class Watched:
    """A `halflight watch` process, its configuration, and what it has said."""

    folder: Path
    process: subprocess.Popen[str] | None = None
    runs: int = 0
    said: list[Path] = field(default_factory=list)

    def write(self, *sources: dict[str, Any], **options: Any) -> None:
        lines = [f"{name} = {json.dumps(value)}" for name, value in (OPTIONS | options).items()]
        for source in sources:
            lines.append("[[source]]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in source.items()]
        (self.folder / "sources.toml").write_text("\n".join(lines))

    def start(self, place: Place) -> None:
        out = self.folder / f"out{self.runs}.jsonl"
        self.said.append(out)
        self.runs += 1
        command = [sys.executable, "-m", "service.cli.main", "watch", str(self.folder / "sources.toml")]
        env = {**os.environ, "HALFLIGHT_KEY": place.probe_key, "HALFLIGHT_URL": place.service.url}
        with out.open("w") as file, (self.folder / "err.log").open("a") as log:
            self.process = subprocess.Popen([*command, "--json"], stdout=file, stderr=log, env=env, text=True)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(WAIT_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def decisions(self) -> list[dict[str, Any]]:
        """What all runs of the watcher said, in order."""
        lines = [line for out in self.said for line in out.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    def errors(self) -> str:
        return (self.folder / "err.log").read_text()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        return found


OPTIONS = {"spool": "spool", "status": "status.json"}


def until(done: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"it did not happen in time: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    walkers = [sample(name, rightwards=i % 2 == 0) for i, name in enumerate(ORDER)]
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", walkers, seconds=2.0)


def made_place(data: Path) -> Iterator[Place]:
    data.mkdir()
    service = Service(data, {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())})
    key = make_key(data, "admin")
    service.start()
    admin = service.client(key)
    for name in ENROLLED:
        assert enroll(admin, name, sample_bytes(name), allow_duplicate="true").status_code == 201
    yield Place(service, admin, made(admin, role="probe")["token"])
    admin.close()
    if service.process is not None and service.process.poll() is None:
        service.kill()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One service for several tests, each of which has a camera of its own."""
    yield from made_place(tmp_path_factory.mktemp("place") / "data")


@pytest.fixture
def own_place(tmp_path: Path) -> Iterator[Place]:
    """A service of one test, which may kill it."""
    yield from made_place(tmp_path / "data")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    folder = tmp_path / "watch"
    folder.mkdir()
    made_one = Watched(folder)
    yield made_one
    if made_one.process is not None and made_one.process.poll() is None:
        made_one.kill()


def told(place: Place, camera: str) -> list[dict[str, Any]]:
    """Every decision about a track of this camera that this run of the service made an event of."""
    asked: dict[str, str] = {"recent": "1000", "follow": "false"}
    with place.admin.stream("GET", "/events", params=asked) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    found = [json.loads(line) for line in lines]
    return [one for one in found if one.get("action") == "track" and one["camera"] == camera]


def tracks(place: Place, camera: str) -> list[dict[str, Any]]:
    """The audit entries about tracks of this camera, oldest first: over restarts of the service too."""
    answer = place.admin.get("/admin/audit", params={"action": "subject.track", "limit": 200}).json()
    return [one for one in reversed(answer["entries"]) if one["detail"]["camera"] == camera]
