"""A real service with keys, and both clients behind one face: each test runs with either."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from halflight.client import AsyncClient, Client
from service.settings import builtin_bundle
from tests.clients.recording import AsyncRecording, Recording
from tests.conftest import Service
from tests.service.api.test_access import make_key

BUILTIN = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}


class Awaited:
    """An `AsyncClient` for code that waits, in an event loop of its own."""

    def __init__(self, client: AsyncClient) -> None:
        self._client, self._runner = client, asyncio.Runner()

    def __repr__(self) -> str:
        return repr(self._client)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            made = method(*args, **options)
            return self._all(made) if inspect.isasyncgen(made) else self._runner.run(made)

        return call

    def _all(self, values: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._runner.run(anext(values))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(values.aclose())

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


@dataclass
class Made:
    """A client and what it sent. `client`: a `Client`, or an `AsyncClient` that looks like one."""

    client: Any
    sent: Recording | AsyncRecording


Connect = Callable[..., Made]
# What the core does, it does for both: where a test costs a start of a service, one of them is enough.
BLOCKING = pytest.mark.parametrize("connect", ["sync"], indirect=True)
ASYNCIO = pytest.mark.parametrize("connect", ["async"], indirect=True)


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Returns a function that makes clients, such as `connect(url, key=...)`; closes them."""
    made: list[Any] = []

    def start(url: str, **options: Any) -> Made:
        if request.param == "sync":
            sent = Recording()
            made.append(Client(url, transport=sent, **options))
            return Made(made[-1], sent)
        sent_async = AsyncRecording()
        made.append(Awaited(AsyncClient(url, transport=sent_async, **options)))
        return Made(made[-1], sent_async)

    yield start
    for client in made:
        client.close()


@dataclass(frozen=True)
class Keyed:
    """A running service and a key of each role."""

    service: Service
    admin: str = field(repr=False)
    operator: str = field(repr=False)
    probe: str = field(repr=False)

    @property
    def url(self) -> str:
        return self.service.url


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """The built-in bundle decides; each test uses subjects of its own."""
    data = tmp_path_factory.mktemp("clients") / "data"
    data.mkdir()
    admin = make_key(data, "admin")
    running = Service(data, BUILTIN).start()
    with running.client(admin) as web:
        operator, probe = (
            web.post("/admin/keys", json={"role": role}).json()["token"] for role in ("operator", "probe")
        )
    yield Keyed(running, admin, operator, probe)
    running.stop()


@pytest.fixture(scope="session")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes a request in two seconds."""
    limits = {"HALFLIGHT_RATE_LIMIT_PER_S": "0.5", "HALFLIGHT_RATE_LIMIT_BURST": "1"}
    running = Service(tmp_path_factory.mktemp("limited") / "data", BUILTIN | limits).start()
    yield running
    running.stop()
