"""Tests 503: immediate refusals at the limits, while loading and while draining, without a lost request."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from service.app import create_app
from service.settings import Settings
from service.state import State
from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem

CLIENTS = 24


class Slow:
    """A client that has sent its head and half of its photo: it was let in, and has no place yet."""

    def __init__(self, service: Service) -> None:
        self._rest = sample_bytes("s01")
        head = f"POST /identify HTTP/1.1\r\nhost: 127.0.0.1:{service.port}\r\ncontent-type: image/jpeg\r\n"
        head += f"content-length: {len(self._rest)}\r\nconnection: close\r\n\r\n"
        self._socket = socket.create_connection(("127.0.0.1", service.port))
        self._socket.sendall(head.encode() + self._rest[:2000])
        self._rest = self._rest[2000:]

    def finish(self) -> bytes:
        """Sends the rest and returns the status line of the response."""
        self._socket.sendall(self._rest)
        with self._socket, self._socket.makefile("rb") as answer:
            return answer.readline()


def being_received(client: httpx.Client) -> None:
    """Waits until the service holds a part of a body."""
    for _ in range(500):
        if "halflight_body_bytes 0.0" not in client.get("/metrics").text:
            return
        time.sleep(0.01)
    raise AssertionError("no body is being received")


def test_503_overloaded_while_the_request_limit_is_reached(start_service: StartService) -> None:
    service = start_service(HALFLIGHT_MAX_REQUESTS="1")
    with service.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
        slow = Slow(service)
        being_received(client)
        assert identify(client, sample_bytes("s02")).status_code == 200, "half a body takes no place"
        answers = list(pool.map(lambda _: identify(client, sample_bytes("s02")), range(3 * CLIENTS)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert 0 < len(refused) < len(answers)
        for answer in refused:
            problem(answer, 503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/health/live").status_code == 200, "health never waits for a place"
        assert b" 200 " in slow.finish(), "who was let in is served"
        assert identify(client, sample_bytes("s02")).status_code == 200


def test_503_overloaded_if_the_inference_queue_is_full(start_service: StartService) -> None:
    service = start_service(HALFLIGHT_MAX_QUEUE="1", HALFLIGHT_MAX_BATCH="1")
    photo = sample_bytes("s01")
    with service.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda _: identify(client, photo), range(3 * CLIENTS)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert 0 < len(refused) < len(answers)
        for answer in refused:
            problem(answer, 503, "overloaded")
            assert "retry-after" in answer.headers
        assert identify(client, photo).status_code == 200


def test_an_enrolment_refused_for_overload_stores_nothing(start_service: StartService) -> None:
    service = start_service(HALFLIGHT_MAX_QUEUE="1", HALFLIGHT_MAX_BATCH="1")
    names = [f"p{i}" for i in range(2 * CLIENTS)]
    with service.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda name: enroll(client, name, sample_bytes("s01")), names))
        stored = {name for name, answer in zip(names, answers, strict=True) if answer.status_code == 201}
        assert {answer.status_code for answer in answers} == {201, 503}
        listed = client.get("/subjects", params={"limit": "1000"}).json()["subjects"]
        assert {subject["subject_id"] for subject in listed} == stored


def test_503_not_ready_while_the_models_load(start_service: StartService) -> None:
    service = start_service(wait=False)
    refused = None
    with service.client() as client:
        for _ in range(2000):
            try:
                refused = identify(client, sample_bytes("s01"))
                break
            except httpx.ConnectError:
                time.sleep(0.005)
        assert refused is not None
        problem(refused, 503, "not_ready")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/health/live").status_code == 200
        waiting = client.get("/health/ready")
        assert (waiting.status_code, waiting.json()["status"]) == (503, "not_ready")
        service.wait_ready()
        assert identify(client, sample_bytes("s01")).status_code == 200


@pytest.mark.slow
def test_a_running_request_is_answered_before_the_service_stops(start_service: StartService) -> None:
    service = start_service()
    with service.client() as client:
        slow = Slow(service)
        being_received(client)
    # The request was let in; it waits for the rest of its body.
    time.sleep(0.5)
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert b" 200 " in slow.finish()
    assert service.stop() == 0


JPEG = {"content-type": "image/jpeg"}


@asynccontextmanager
async def in_process(settings: Settings) -> AsyncIterator[tuple[State, httpx.AsyncClient, list[int]]]:
    """Yields the service in this process, a client, and the admissions at the start of each response."""
    app: FastAPI = create_app(settings)
    taken: list[int] = []
    async with app.router.lifespan_context(app):
        state: State = app.state.halflight
        assert state.loading is not None
        await state.loading

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    taken.append(state.admission.in_flight)
                await send(message)

            await app(scope, receive, sent)

        transport = httpx.ASGITransport(app=watched)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield state, client, taken


async def test_the_admission_ends_before_the_response_is_sent(tmp_path: Path, bundle_dir: Path) -> None:
    """A client that has its response finds room for the next request, also after a refusal."""
    settings = Settings(data_dir=tmp_path, bundle_dir=bundle_dir, max_requests=1)
    async with in_process(settings) as (_, client, taken):
        for content, status in ((sample_bytes("s01"), 200), (b"no image", 415), (sample_bytes("s02"), 200)):
            answer = await client.post("/identify", content=content, headers=JPEG)
            assert answer.status_code == status
            assert "halflight_requests_in_flight 0.0" in (await client.get("/metrics")).text
        assert set(taken) == {0}


async def test_without_a_place_no_body_is_asked_for(tmp_path: Path, bundle_dir: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        asked.append(True)
        yield sample_bytes("s01")

    asked: list[bool] = []
    settings = Settings(data_dir=tmp_path, bundle_dir=bundle_dir, max_requests=1)
    async with in_process(settings) as (state, client, _):
        with state.admission.admitted():
            refused = await client.post("/identify", content=body(), headers=JPEG)
            problem(refused, 503, "overloaded")
            assert "retry-after" in refused.headers
            assert not asked
            assert (await client.get("/subjects")).status_code == 200, "it takes no place"
        assert (await client.post("/identify", content=body(), headers=JPEG)).status_code == 200
        assert asked


async def test_running_requests_never_exceed_the_limit(tmp_path: Path, bundle_dir: Path) -> None:
    settings = Settings(data_dir=tmp_path, bundle_dir=bundle_dir, max_requests=2)
    async with in_process(settings) as (_, client, taken):
        asked = [client.post("/identify", content=sample_bytes("s01"), headers=JPEG) for _ in range(CLIENTS)]
        answers = await asyncio.gather(*asked)
        served = [answer for answer in answers if answer.status_code == 200]
        for answer in answers:
            if answer not in served:
                problem(answer, 503, "overloaded")
        # A place that is given back early serves one more; but never more than two at a time.
        assert 2 <= len(served) < CLIENTS
        assert max(taken) == 2


async def test_503_draining_for_requests_that_arrive_during_shutdown(
    tmp_path: Path, bundle_dir: Path
) -> None:
    # In this process: the time between the signal and the closed socket is too short from outside.
    async with in_process(Settings(data_dir=tmp_path, bundle_dir=bundle_dir)) as (state, client, _):
        served = await client.post("/identify", content=sample_bytes("s01"), headers=JPEG)
        assert served.status_code == 200
        state.draining = True
        refused = await client.post("/identify", content=sample_bytes("s01"), headers=JPEG)
        problem(refused, 503, "draining")
        assert "retry-after" in refused.headers
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
