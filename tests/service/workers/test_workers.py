"""Tests real worker processes behind one listener: what one writes all show, and a kill loses nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.bulk import new_photos
from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.live.test_watchers import REPORT
from tests.service.test_durability import best

pytestmark = pytest.mark.slow

POLL_S = "0.05"
WAIT_S = 240.0
PROMPT = re.compile(r'^halflight_requests_total\{worker="(\d)",.*route="/identify".*\} ([0-9.]+)$', re.M)
# Whoever accepts a connection first has it, so both workers come to some after a while only.
FEWEST, MOST = 8, 200


@pytest.fixture
def served(start_service: StartService) -> Service:
    return start_service(HALFLIGHT_WORKERS="2", HALFLIGHT_LOG_POLL_S=POLL_S, HALFLIGHT_RATE_LIMIT_PER_S="0")


def logged(service: Service, event: str) -> list[dict[str, object]]:
    assert service.log is not None
    rows = [row for row in service.log.read_text(encoding="utf-8").splitlines() if row[:1] == "{"]
    return [found for row in rows if (found := json.loads(row)).get("event") == event]


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def each_worker(service: Service) -> Iterator[list[httpx.Client]]:
    """Clients with a connection each, so many that both workers have some."""
    with ExitStack() as stack:
        until(lambda: len(logged(service, "worker ready")) >= 2)
        clients = [stack.enter_context(service.client())]
        before = asked_by_worker(clients[0], "/health/ready")
        while True:
            clients.append(stack.enter_context(service.client()))
            assert clients[-1].get("/health/ready").status_code == 200
            now = asked_by_worker(clients[0], "/health/ready")
            if len(clients) >= FEWEST and all(now.get(n, 0) > before.get(n, 0) for n in "01"):
                break
            assert len(clients) < MOST, "one worker gets no connection"
        yield clients


def test_what_one_worker_writes_every_worker_shows(served: Service) -> None:
    with each_worker(served) as clients:
        assert enroll(clients[0], "here", sample_bytes("s01")).status_code == 201
        for client in clients:
            until(lambda client=client: best(client, sample_bytes("s01")) == "here")  # type: ignore[misc]
        metrics = clients[0].get("/metrics").text
        counts = {int(n): float(value) for n, value in PROMPT.findall(metrics)}
        assert set(counts) == {0, 1}
        assert min(counts.values()) >= 1
        ups = re.findall(r'^halflight_worker_up\{worker="\d"\} ([0-9.]+)$', metrics, re.M)
        assert ups == ["1.0", "1.0"]
        # What a watcher reported to one worker, every worker tells.
        assert clients[0].put("/watchers/hall", json=REPORT).status_code == 204
        for client in clients:
            until(lambda client=client: bool(client.get("/watchers").json()["watchers"]))  # type: ignore[misc]
            (heard,) = client.get("/watchers").json()["watchers"]
            assert heard["watcher"] == "hall"
            assert 0 <= heard["heard_s_ago"] < WAIT_S
        # An erasure is gone from the next answer of every worker: whose a template is, the database says.
        assert clients[1].delete("/subjects/here").status_code == 200
        assert [best(client, sample_bytes("s01")) for client in clients] == [None] * len(clients)
        # Each worker streams the decisions of all, in one order.
        until(lambda: len({tuple(ids_of_events(client)) for client in clients}) == 1)
        assert len(ids_of_events(clients[0])) >= 2 * len(clients)
    assert served.stop() == 0


def ids_of_events(client: httpx.Client) -> list[str]:
    text = client.get("/events", params={"recent": 1000, "follow": "false"}).text
    return re.findall(r'"event_id": ?"([0-9a-f]{24})"', text)


def test_a_killed_worker_comes_back_and_nothing_acknowledged_is_lost(served: Service, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    images = new_photos(photos, 0)
    pids = [int(str(one["pid"])) for one in logged(served, "worker started")]
    assert len(set(pids)) == 2
    done, answered, over = set[str](), threading.Semaphore(0), threading.Event()

    def enrol(first: int) -> None:
        number = first
        while not over.is_set():
            with served.client() as client:
                try:
                    name = f"n{number}"
                    if enroll(client, name, images[number % len(images)]).status_code == 201:
                        done.add(name)
                        answered.release()
                        number += 4
                except httpx.TransportError:
                    continue  # its worker was killed; nothing was acknowledged

    threads = [threading.Thread(target=enrol, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for killed in pids:
            for _ in range(4):
                assert answered.acquire(timeout=WAIT_S)
            before = len(logged(served, "worker ready"))
            os.kill(killed, signal.SIGKILL)
            # The other one serves meanwhile.
            assert answered.acquire(timeout=WAIT_S)
            until(lambda before=before: len(logged(served, "worker ready")) > before)  # type: ignore[misc]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    ended = logged(served, "worker ended and is started anew")
    assert [one["exit_code"] for one in ended] == [-signal.SIGKILL] * 2
    with each_worker(served) as clients:
        for client in clients:
            for name in done:
                assert client.get(f"/subjects/{name}").status_code == 200
    assert served.stop() == 0
    # After a new start too: the gallery has every acknowledged template.
    served.start()
    with served.client() as client:
        templates = client.get("/health/ready").json()["templates"]
        samples = sum(len(client.get(f"/subjects/{name}").json()["samples"]) for name in done)
        assert templates >= samples >= len(done)
        assert identify(client, images[0]).status_code == 200


def test_workers_keep_to_a_rate_together(start_service: StartService) -> None:
    """The rate of a key and that of failed logins: over both workers no more than the settings say."""
    burst, rate = 20, 0.1
    service = start_service(
        HALFLIGHT_WORKERS="2",
        HALFLIGHT_RATE_LIMIT_PER_S=str(rate),
        HALFLIGHT_RATE_LIMIT_BURST=str(burst),
        HALFLIGHT_FAILED_LOGINS_PER_S=str(rate),
        HALFLIGHT_FAILED_LOGINS_BURST=str(burst),
    )
    with each_worker(service) as clients:
        for headers, let_in in (({}, 200), ({"Authorization": f"Bearer hl_{'0' * 40}"}, 401)):
            before, began, got = asked_by_worker(clients[0], "/whoami"), time.monotonic(), []
            asked = dict.fromkeys("01", 0.0)
            # Until each of both alone was asked for more than the burst.
            while min(asked.values()) <= burst:
                assert time.monotonic() < began + WAIT_S
                got += [client.get("/whoami", headers=headers) for client in clients]
                now = asked_by_worker(clients[0], "/whoami")
                asked = {n: now.get(n, 0.0) - before.get(n, 0.0) for n in "01"}
            seconds = time.monotonic() - began
            codes = [answer.status_code for answer in got]
            assert set(codes) == {let_in, 429}
            assert burst <= codes.count(let_in) <= burst + rate * seconds
            # What is said to wait is how long it takes until all workers have a token again.
            assert 1 <= int(got[-1].headers["Retry-After"]) <= 1 / rate
    assert service.stop() == 0


def asked_by_worker(client: httpx.Client, route: str) -> dict[str, float]:
    """How many requests to a route each worker has answered."""
    counter = rf'^halflight_requests_total\{{worker="(\d)",.*route="{route}".*\}} ([0-9.]+)$'
    counts: dict[str, float] = {}
    for worker, count in re.findall(counter, client.get("/metrics").text, re.M):
        counts[worker] = counts.get(worker, 0.0) + float(count)
    return counts


def test_a_limit_below_the_number_of_workers_is_refused_in_one_sentence(start_service: StartService) -> None:
    service = start_service(wait=False, HALFLIGHT_WORKERS="3", HALFLIGHT_MAX_REQUESTS="2")
    assert service.process is not None
    assert service.process.wait(timeout=WAIT_S) == 2
    assert service.log is not None
    assert "HALFLIGHT_MAX_REQUESTS=2" in service.log.read_text(encoding="utf-8")


def test_doors_and_several_workers_are_refused_in_one_sentence(
    start_service: StartService, tmp_path: Path
) -> None:
    doors = tmp_path / "doors.toml"
    doors.write_text("", encoding="utf-8")
    service = start_service(wait=False, HALFLIGHT_WORKERS="2", HALFLIGHT_DOORS_FILE=str(doors))
    assert service.process is not None
    assert service.process.wait(timeout=WAIT_S) == 2
    assert service.log is not None
    text = service.log.read_text(encoding="utf-8")
    assert text.count("\n") == 1
    assert "HALFLIGHT_WORKERS=1" in text


def test_workers_end_with_their_supervisor(served: Service) -> None:
    pids = [int(str(one["pid"])) for one in logged(served, "worker started")]
    served.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
