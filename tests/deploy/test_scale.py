"""Tests the compose profile `scale`: the shipped proxy configuration before real replicas."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import REPO
from tests.deploy.programs import find_program
from tests.deploy.scale import (
    CONFIGURATION,
    LIMITS,
    Deployment,
    enrol,
    identify,
    make_secrets,
    running_deployment,
)
from tests.service.store.postgres import fresh_database

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployment(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with (
        fresh_database(postgres) as url,
        running_deployment(url.replace("+psycopg", ""), tmp_path_factory.mktemp("scale")) as running,
    ):
        yield running


@pytest.fixture
def client(deployment: Deployment) -> Iterator[httpx.Client]:
    with deployment.client(deployment.key) as client:
        yield client


def test_a_probe_passes_the_proxy_and_is_identified(deployment: Deployment, client: httpx.Client) -> None:
    assert enrol(client, "s01").status_code == 201
    # Each replica in turn, so each has taken over the enrolment from the database.
    time.sleep(2)
    for _ in deployment.replicas:
        (face,) = identify(client, "s01").json()["results"]
        assert (face["decision"], face["candidates"][0]["subject_id"]) == ("match", "s01")
    with deployment.client() as stranger:
        assert identify(stranger, "s01").status_code == 401


def test_plain_http_only_points_to_tls(deployment: Deployment) -> None:
    answer = httpx.post(f"http://localhost:{deployment.plain_port}/v1/identify", content=b"x")
    assert answer.status_code == 308
    assert answer.headers["location"].startswith("https://localhost")


@pytest.mark.parametrize(
    "path", ["/metrics", "/v1/metrics", "/%6detrics", "//metrics", "/metrics/", "/METRICS"]
)
def test_metrics_stay_inside(client: httpx.Client, path: str) -> None:
    # Whole, since httpx would join `//metrics` to its base as `/`.
    answer = client.get(f"https://localhost:{client.base_url.port}{path}")
    assert answer.status_code == 404
    assert "halflight_" not in answer.text


def test_addresses_are_the_real_ones_whatever_a_client_claims(deployment: Deployment) -> None:
    """Failed logins are slowed down by address: of the client, neither the proxy's nor an invented one."""
    statuses = []
    with deployment.client("hf_wrong_wrong", source="127.0.0.7") as guessing:
        for number in range(4 * len(deployment.replicas)):
            claimed = {"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=203.0.113.{number}"}
            statuses.append(guessing.get("/v1/subjects", headers=claimed).status_code)
    assert statuses[0] == 401
    assert 429 in statuses, "an invented address had a count of its own"
    with deployment.client("hf_wrong_wrong", source="127.0.0.8") as other:
        assert other.get("/v1/subjects").status_code == 401, "all clients count as one: the proxy's address"


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_large_body_is_refused_as_without_the_proxy(deployment: Deployment, declared: bool) -> None:
    size = int(LIMITS["HALFLIGHT_MAX_BODY_BYTES"]) + 4096
    direct, proxied = (
        _post(client, bytes(size) if declared else iter([bytes(4096)] * (size // 4096 + 1)))
        for client in (deployment.replicas[0].client(deployment.key), deployment.client(deployment.key))
    )
    assert proxied.status_code == direct.status_code == 413
    assert proxied.json() == direct.json()


def _post(client: httpx.Client, body: bytes | Iterator[bytes]) -> httpx.Response:
    with client:
        return client.post("/v1/identify", content=body, headers={"Content-Type": "image/jpeg"})


def test_a_slow_body_is_refused_as_without_the_proxy(deployment: Deployment) -> None:
    started = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", deployment.tls_port)) as plain,
        deployment.trust.wrap_socket(plain, server_hostname="localhost") as sent,
    ):
        head = "POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        head += f"Authorization: Bearer {deployment.key}\r\nContent-Length: 5000\r\n\r\n"
        sent.sendall(head.encode() + b"\xff\xd8")
        answer = b""
        while not answer.endswith(b"}"):
            answer += sent.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["code"] == "request_timeout"
    assert time.monotonic() - started < 25, "the proxy waited longer than the service"


def test_events_leave_the_proxy_at_once(deployment: Deployment, client: httpx.Client) -> None:
    """A stream shows the decisions of the replica that it hangs on; the others' go elsewhere."""
    enrol(client, "s01")
    heard = threading.Event()
    opened = threading.Event()

    def listen() -> None:
        with deployment.client(deployment.key) as reader, reader.stream("GET", "/v1/events") as stream:
            for line in stream.iter_lines():
                opened.set()
                if line == "event: decision":
                    heard.set()
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert opened.wait(30), "the first event is held back"
    end = time.monotonic() + 60
    while not heard.wait(1) and time.monotonic() < end:
        for _ in deployment.replicas:
            identify(client, "s01")
    assert heard.is_set(), "decisions are held back"
    thread.join(30)


def test_a_killed_replica_loses_nothing(deployment: Deployment, client: httpx.Client) -> None:
    """Requests in the killed replica fail; every later one is answered, every enrolment is kept."""
    enrol(client, "s01")
    stop, enrolled = threading.Event(), list[str]()
    # 0: the connection ended without an answer.
    statuses: list[int] = []

    def ask() -> None:
        with deployment.client(deployment.key) as own:
            while not stop.is_set():
                try:
                    statuses.append(identify(own, "s01").status_code)
                except httpx.TransportError:
                    statuses.append(0)

    def add() -> None:
        with deployment.client(deployment.key) as own:
            for number in range(2, 12):
                subject, status = f"s{number:02}", 0
                while status not in (200, 201) and not stop.is_set():
                    with suppress(httpx.TransportError):
                        status = enrol(own, subject).status_code
                if status in (200, 201):
                    enrolled.append(subject)

    threads = [threading.Thread(target=ask) for _ in range(3)] + [threading.Thread(target=add)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    deployment.replicas[0].kill()
    deployment.wait_for(2)
    threads[-1].join(120)
    after = len(statuses)
    time.sleep(3)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert set(statuses) <= {200, 502, 503, 0}
    assert len(statuses) - statuses.count(200) <= len(threads), "more failed than were under way"
    assert set(statuses[after:]) == {200}, "requests fail although the replica is known to be gone"
    assert len(enrolled) == 10
    deployment.replicas[0].start()
    deployment.wait_for(3)
    for replica in deployment.replicas:
        with replica.client(deployment.key) as direct:
            for subject in enrolled:
                assert direct.get(f"/v1/subjects/{subject}").status_code == 200
                (face,) = identify(direct, subject).json()["results"]
                assert face["candidates"][0]["subject_id"] == subject


def test_a_draining_replica_costs_nobody_an_answer(deployment: Deployment, client: httpx.Client) -> None:
    enrol(client, "s01")
    stop, statuses = threading.Event(), list[int]()

    def ask() -> None:
        with deployment.client(deployment.key) as own:
            while not stop.is_set():
                statuses.append(identify(own, "s01").status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    assert deployment.replicas[1].stop() == 0
    time.sleep(3)
    stop.set()
    for thread in threads:
        thread.join(60)
    deployment.replicas[1].start()
    assert statuses.count(200) == len(statuses) > 0, f"{len(statuses) - statuses.count(200)} failed"


def test_the_proxy_writes_no_subject_and_no_key(deployment: Deployment, client: httpx.Client) -> None:
    client.get("/v1/subjects/s01-is-private")
    log = (deployment.secrets.parent / "proxy.log").read_text()
    assert " GET " in log
    assert "private" not in log
    assert deployment.key not in log


def test_haproxy_takes_the_configuration(tmp_path: Path) -> None:
    secrets = make_secrets(tmp_path / "secrets", "postgresql://nowhere")
    command = [find_program("haproxy", "haproxy"), "-c", "-f", str(CONFIGURATION)]
    checked = subprocess.run(
        command, env={"HALFLIGHT_CERTIFICATE": str(secrets / "tls.pem")}, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


def test_secrets_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    place = make_secrets(tmp_path / "secrets", "postgresql://kept")
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    subprocess.run([REPO / "deploy" / "secrets.sh", place], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
