"""Callers are let in from the head alone; heads, bodies and connections have limits that are felt."""

from __future__ import annotations

import json
import select
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_access import make_key, revoke_key
from tests.service.api.test_errors import enroll, identify, problem

# Everybody may ask these; a test below holds that nothing else is open.
OPEN = {"/v1/health/live", "/v1/health/ready", "/v1/metrics"}


@pytest.fixture
def guarded(start_service: StartService, tmp_path: Path) -> tuple[Service, str]:
    """A service with a key and short limits, and the key of an admin."""
    data = tmp_path / "guarded"
    data.mkdir()
    key = make_key(data, "admin")
    limits = {
        "HALFLIGHT_HEAD_TIMEOUT_S": "1",
        "HALFLIGHT_BODY_IDLE_S": "2",
        "HALFLIGHT_MAX_REQUESTS": "2",
        "HALFLIGHT_MAX_CONNECTIONS": "24",
        "HALFLIGHT_FAILED_LOGINS_BURST": "200",
    }
    return start_service(data=data, **limits), key


def send(service: Service, request: bytes, *, timeout_s: float = 30.0) -> bytes:
    """Send bytes and read until the other side closes or is silent after an answer."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=timeout_s) as connection:
        connection.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                break
            received += more
        return received


def head(path: str, *headers: str, method: str = "POST", length: int = 0) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def resident_bytes(service: Service) -> int:
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def test_every_operation_but_the_open_ones_needs_a_key(guarded: tuple[Service, str]) -> None:
    service, _key = guarded
    document = create_app(Settings()).openapi()
    with service.client() as client:
        for path, operations in document["paths"].items():
            for method in operations:
                answer = client.request(method, path.replace("{", "").replace("}", ""))
                if path in OPEN:
                    assert answer.status_code == 200, path
                else:
                    problem(answer, 401, "unauthorized")


def test_a_stranger_is_refused_before_the_body_is_sent(guarded: tuple[Service, str]) -> None:
    service, _key = guarded
    for path in ("/identify", "/enroll", "/admin/retrain", "/admin/datasets"):
        answer = send(service, head(path, "Content-Type: application/json", length=60 << 20))
        assert answer.startswith(b"HTTP/1.1 401 "), path


def test_broken_json_is_401_without_a_key_and_400_with_one(guarded: tuple[Service, str]) -> None:
    service, key = guarded
    json_type = {"content-type": "application/json"}
    with service.client() as stranger:
        problem(stranger.patch("/subjects/x", content=b"{", headers=json_type), 401, "unauthorized")
    with service.client(key) as admin:
        problem(admin.patch("/subjects/x", content=b"{", headers=json_type), 400, "malformed_request")


def test_the_memory_does_not_grow_with_what_strangers_send(guarded: tuple[Service, str]) -> None:
    service, _key = guarded
    with service.client() as client:
        client.get("/health/live")
        before = resident_bytes(service)
        body = b"[" + b"[]," * (20 << 20) + b"1]"
        answer = client.patch("/subjects/x", content=body, headers={"content-type": "application/json"})
    problem(answer, 401, "unauthorized")
    assert resident_bytes(service) - before < 16 << 20


def test_a_json_body_has_64_kib_at_most(guarded: tuple[Service, str]) -> None:
    service, key = guarded
    with service.client(key) as admin:
        for size, status, code in ((65536, 422, "invalid_parameter"), (65537, 413, "body_too_large")):
            body = json.dumps("x" * (size - 2)).encode()
            assert len(body) == size
            answer = admin.patch("/subjects/x", content=body, headers={"content-type": "application/json"})
            problem(answer, status, code)


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"a%d: b\r\n" % number for number in range(200)),
        b"x: " + b"a" * 40_000 + b"\r\n",
        b"x: " + b"a" * 4_000_000,
    ],
    ids=["many headers", "one long header", "a header without an end"],
)
def test_a_head_over_its_limits_is_431(guarded: tuple[Service, str], flood: bytes) -> None:
    service, _key = guarded
    before = resident_bytes(service)
    try:
        answer = send(service, b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n" + flood + b"\r\n")
    except ConnectionError:
        # It was closed while more was being sent: the answer may be lost with what was not read.
        answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert resident_bytes(service) - before < 16 << 20
    assert httpx.get(f"{service.url}/health/live").status_code == 200


def test_a_long_url_is_refused_and_a_usual_one_is_not(guarded: tuple[Service, str]) -> None:
    service, _key = guarded
    long = b"GET /health/live?" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert send(service, long).startswith(b"HTTP/1.1 431 ")
    usual = b"GET /health/live?" + b"a" * 4_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert send(service, usual).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("begun", [b"", b"GET /health", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\r\n"])
def test_half_a_head_does_not_hold_a_connection(guarded: tuple[Service, str], begun: bytes) -> None:
    service, _key = guarded
    answer = send(service, begun)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_drip_of_bytes_does_not_hold_a_head_open(guarded: tuple[Service, str]) -> None:
    service, _key = guarded
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\n")
        ended = time.monotonic() + 20
        with pytest.raises(ConnectionError):
            while time.monotonic() < ended:
                connection.sendall(b"a: b\r\n")
                time.sleep(0.1)


def test_slow_bodies_take_no_places_and_end(guarded: tuple[Service, str]) -> None:
    service, key = guarded
    request = head("/identify", f"Authorization: Bearer {key}", "Content-Type: image/jpeg", length=1_000_000)
    with ExitStack() as stack, service.client(key) as client:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=60))
            for _ in range(8)
        ]
        for connection in slow:
            connection.sendall(request + b"\xff")
        # More of them than places (2), and still there is room for whoever sends at once.
        assert enroll(client, "a", sample_bytes("s01")).status_code == 201
        assert identify(client, sample_bytes("s01")).status_code == 200
        for connection in slow:
            assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert "halflight_body_bytes 0.0" in client.get("/metrics").text


@pytest.mark.parametrize("last", [(), ("connection: close",)], ids=["kept", "last"])
def test_who_still_sends_when_the_answer_comes_gets_it(
    guarded: tuple[Service, str], last: tuple[str, ...]
) -> None:
    """Also where the connection ends with the request, as every one of a proxy may."""
    service, _ = guarded
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        rest = bytes(1 << 20)
        connection.sendall(head("/identify", *last, length=2 * len(rest)) + rest)
        assert select.select([connection], [], [], 30)[0], "the answer does not wait for the body"
        time.sleep(0.5)
        for _ in range(16):
            connection.sendall(rest[: len(rest) // 16])
            time.sleep(0.01)
        answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 401 ")
        connection.shutdown(socket.SHUT_WR)
        # The end of the connection is no reset.
        while more := connection.recv(1 << 16):
            answer += more
        assert answer.count(b"HTTP/1.1 ") == 1


def test_connections_beyond_the_cap_are_503_and_the_others_go_on(guarded: tuple[Service, str]) -> None:
    service, _key = guarded
    with ExitStack() as stack, service.client() as client:
        assert client.get("/health/live").status_code == 200
        answers = []
        for _ in range(30):
            connection = socket.create_connection(("127.0.0.1", service.port), timeout=60)
            stack.enter_context(connection)
            connection.sendall(head("/health/live", method="GET"))
            answers.append(connection.recv(65536).split(b" ", 2)[1])
        assert answers[:23] == [b"200"] * 23
        assert answers[23:] == [b"503"] * 7
        assert client.get("/health/live").status_code == 200


def test_failed_logins_of_one_address_are_slowed_down(start_service: StartService, tmp_path: Path) -> None:
    data = tmp_path / "throttled"
    data.mkdir()
    key = make_key(data, "admin")
    service = start_service(
        data=data, HALFLIGHT_FAILED_LOGINS_BURST="5", HALFLIGHT_FAILED_LOGINS_PER_S="0.01"
    )
    with service.client(key) as admin, service.client("hf_wrong_key") as guesser:
        assert admin.get("/subjects").status_code == 200
        for _ in range(5):
            problem(guesser.get("/subjects"), 401, "unauthorized")
        slowed = problem(guesser.get("/subjects"), 429, "rate_limited")
        assert "address" in slowed["detail"]
        # Whoever has a key is let in, from the same address too.
        assert admin.get("/subjects").status_code == 200
        assert "halflight_failed_logins_total 6.0" in admin.get("/metrics").text


def test_open_access_never_returns_once_a_key_has_existed(
    start_service: StartService, tmp_path: Path
) -> None:
    service = start_service(data=tmp_path / "reopened")
    with service.client() as client:
        assert client.get("/subjects").status_code == 200
        key = make_key(service.data, "admin")
        ended = time.monotonic() + 30
        while client.get("/subjects").status_code == 200:
            assert time.monotonic() < ended, "a key exists and access is still open"
            time.sleep(0.2)
        revoke_key(service.data, key)
        time.sleep(4)
        problem(client.get("/subjects"), 401, "unauthorized")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "LOCALHOST:1"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "rebound.example"}, 403),
        ({"host": "127.0.0.1.nip.io"}, 403),
        ({"host": "evil@127.0.0.1"}, 403),
        ({"host": "evil.example//127.0.0.1"}, 403),
        ({"host": "//127.0.0.1"}, 403),
        ({"host": ""}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"x-forwarded-for": "203.0.113.9"}, 401),
        ({"forwarded": "for=203.0.113.9"}, 401),
        ({"via": "1.1 proxy"}, 401),
        ({"x-real-ip": "203.0.113.9"}, 401),
        ({"x-forwarded-server": "proxy.example"}, 401),
        ({"x-forwarded-port": "443"}, 401),
        ({"x-forwarded": "for=203.0.113.9"}, 401),
        ({"x-original-forwarded-for": "203.0.113.9"}, 401),
        ({"x-original-url": "/"}, 401),
        ({"x-client-ip": "203.0.113.9"}, 401),
        ({"x-cluster-client-ip": "203.0.113.9"}, 401),
        ({"true-client-ip": "203.0.113.9"}, 401),
        ({"fly-client-ip": "203.0.113.9"}, 401),
        ({"x-azure-clientip": "203.0.113.9"}, 401),
        ({"cf-connecting-ip": "203.0.113.9"}, 401),
        ({"x-appengine-user-ip": "203.0.113.9"}, 401),
        ({"x-envoy-external-address": "203.0.113.9"}, 401),
        ({"cdn-loop": "example"}, 401),
    ],
)
def test_open_access_is_for_this_machine_alone_on_every_path(
    service: Service, headers: dict[str, str], status: int
) -> None:
    with service.client() as client:
        for path in ("/subjects", "/health/ready", "/metrics", "/openapi.json", "/docs"):
            assert client.get(path, headers=headers).status_code == status, path


def test_without_keys_a_page_cannot_change_anything_with_a_plain_form(service: Service) -> None:
    with service.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            answer = client.post("/admin/evaluate", content=b"{}", headers={"content-type": kind})
            problem(answer, 415, "unsupported_media_type")


def test_no_answer_may_be_cached_or_sniffed(service: Service) -> None:
    with service.client() as client:
        for path in ("/subjects", "/nowhere", "/metrics", "/docs", "/openapi.json"):
            answer = client.get(path)
            assert answer.headers["cache-control"] == "no-store", path
            assert answer.headers["x-content-type-options"] == "nosniff", path
