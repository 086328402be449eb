"""Provides real parts to every test: the shared photos, the provisioned bundle, a running service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from service.settings import cache_root

REPO = Path(__file__).resolve().parent.parent
SAMPLES = REPO / "service" / "samples"
# The services of the tests use the reference bundle, or the built-in one if the reference is missing.
# `tests/service/test_builtin.py` always uses the built-in one.
REFERENCE = cache_root() / "bundles" / "reference"
if (REFERENCE / "manifest.json").is_file():
    os.environ.setdefault("HALFLIGHT_BUNDLE_DIR", str(REFERENCE))
# Generous limits for a busy machine: they only end a wait that would never succeed.
START_S, ANSWER_S = 600.0, 300.0
PATIENT = {"HALFLIGHT_DECODE_WAIT_S": "120"}


def pytest_configure() -> None:
    """Background jobs of a shell ignore Ctrl-C. Commands under test would inherit that and never end."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the files with the most slow tests first if several processes share the files.

    Otherwise the last process may begin minutes of work when the others have none left.
    """
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def shared() -> Path:
    """The photos and weights beside the checkout (PROVENANCE.md there)."""
    place = REPO.parent / "shared"
    if not (place / "data").is_dir():
        pytest.skip("no ../shared beside the checkout: real photos are not here")
    return place


@pytest.fixture(scope="session")
def bundle_dir() -> Path:
    """The provisioned reference bundle; `make test` fetches it if it can."""
    if not (REFERENCE / "manifest.json").is_file():
        pytest.skip("no reference bundle: run `halflight models pull`")
    return REFERENCE


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """One `halflight serve` process on loopback."""

    data: Path
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None
    log: Path | None = None
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, timeout=ANSWER_S, headers=headers)

    def start(self, *, wait: bool = True) -> Service:
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = self.data.parent / f"{self.data.name}.log"
        command = [sys.executable, "-m", "service.cli.main", "serve", "--host", self.host]
        command += ["--port", str(self.port), "--data", str(self.data)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **PATIENT, **self.env}, stdout=log, stderr=log, text=True
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        assert self.process is not None
        assert self.log is not None
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/health/ready", timeout=10).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the service did not become ready:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """Kills the process with SIGKILL."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Stops the process with SIGTERM and returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=60)


StartService = Callable[..., Service]


@pytest.fixture
def start_service(tmp_path: Path, bundle_dir: Path) -> Iterator[StartService]:
    """Returns a function that starts services, such as `start_service(HALFLIGHT_MAX_QUEUE="1")`.

    They end with the test.
    """
    started: list[Service] = []

    def start(*, wait: bool = True, data: Path | None = None, **env: str) -> Service:
        service = Service(data or tmp_path / f"data{len(started)}", env)
        started.append(service)
        return service.start(wait=wait)

    yield start
    for service in started:
        if service.process is not None and service.process.poll() is None:
            service.kill()


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory, bundle_dir: Path) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service") / "data").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def service(shared_service: Service) -> Iterator[Service]:
    """One service shared by many tests. Its gallery is empty when a module of tests begins.

    The tests of a module use subject ids of their own.
    """
    yield shared_service
    with shared_service.client() as client:
        while found := client.get("/subjects").raise_for_status().json()["subjects"]:
            ids = [one["subject_id"] for one in found]
            client.post("/subjects/delete", json={"subject_ids": ids}).raise_for_status()


@pytest.fixture(scope="module")
def service_url(service: Service) -> str:
    return service.url


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def sample_bytes(subject: str, name: str = "vis_1.jpg") -> bytes:
    """Reads a committed synthetic sample."""
    return (SAMPLES / subject / name).read_bytes()
