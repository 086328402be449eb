"""Tests photos made to cost much: each gets its refusal, and others are served meanwhile."""

from __future__ import annotations

import socket
import time

import httpx

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_errors import identify, problem
from tests.service.inference.test_decoding import flat_png, many_scans

KILLS = 'halflight_decode_kills_total{reason="caller_gone"}'


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(name + " ")), 0.0)


def test_422_image_too_costly(client: httpx.Client) -> None:
    body = problem(identify(client, many_scans(5000)), 422, "image_too_costly")
    assert "baseline JPEG" in body["detail"]


def send_and_leave(service: Service, data: bytes) -> None:
    """Sends a whole photo and hangs up without waiting for the answer."""
    head = (
        f"POST /detect HTTP/1.1\r\nhost: 127.0.0.1:{service.port}\r\ncontent-type: image/png\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port)) as caller:
        caller.sendall(head.encode() + data)
        time.sleep(0.3)


def test_decoding_ends_when_the_caller_goes(start_service: StartService) -> None:
    service = start_service(HALFLIGHT_DECODE_WORKERS="1", HALFLIGHT_DECODE_CPU_S="600")
    with service.client() as client:
        assert identify(client, sample_bytes("s01")).status_code == 200
        for _ in range(2):
            send_and_leave(service, flat_png(7000, 7000, 16))
        for _ in range(600):
            if metric(client, "halflight_requests_in_flight") == 0:
                break
            time.sleep(0.1)
        assert metric(client, "halflight_requests_in_flight") == 0
        assert metric(client, KILLS) >= 1
        assert metric(client, "halflight_pixels_in_work") == 0
        assert identify(client, sample_bytes("s02")).status_code == 200
