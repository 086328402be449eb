"""Tests what is refused before a handler runs: broken requests, cut forms, repeated names, large bodies."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from tests.conftest import Service, sample_bytes
from tests.service.api.test_errors import enroll, problem

BOUNDARY = "boundary-of-the-test"
HEAD = "POST /identify HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: image/jpeg\r\n"


def answer_to(
    service: Service, sent: bytes, *, wait_s: float = 60.0
) -> tuple[int, dict[str, str], bytes, float]:
    """Status, headers, body of the answer, and the seconds until the service had closed the connection."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", service.port), timeout=wait_s) as caller:
        caller.sendall(sent)
        with caller.makefile("rb") as answer:
            data = answer.read()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body, time.monotonic() - began


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / http/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /identify HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        b"POST /identify HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_the_parser_refuses_is_a_problem_like_any_other(service: Service, sent: bytes) -> None:
    status, headers, body, _ = answer_to(service, sent)
    assert status == 400
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert json.loads(body)["code"] == "malformed_request"


def test_a_body_that_says_it_is_too_large_is_refused_before_a_byte_of_it(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as caller:
        caller.sendall((HEAD + f"content-length: {1 << 30}\r\n\r\n").encode())
        assert caller.recv(4096).startswith(b"HTTP/1.1 413 ")
    status, _, body, waited_s = answer_to(
        service, (HEAD + f"content-length: {1 << 30}\r\nexpect: 100-continue\r\n\r\n").encode()
    )
    assert (status, json.loads(body)["code"]) == (413, "body_too_large")
    assert waited_s < 9.0, "the connection stays open for a body that the client keeps back"


def test_a_body_that_may_come_is_asked_for(service: Service) -> None:
    photo = sample_bytes("s01")
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as caller:
        head = HEAD + f"content-length: {len(photo)}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
        caller.sendall(head.encode())
        assert caller.recv(4096).startswith(b"HTTP/1.1 100 ")
        caller.sendall(photo)
        assert caller.recv(4096).startswith(b"HTTP/1.1 200 ")


def form(*photos: bytes) -> bytes:
    parts = [b'content-disposition: form-data; name="subject_id"\r\n\r\ncut']
    parts += [
        b'content-disposition: form-data; name="images"; filename="x.jpg"\r\n\r\n' + photo for photo in photos
    ]
    line = f"--{BOUNDARY}\r\n".encode()
    return b"\r\n".join(line + part for part in parts) + f"\r\n--{BOUNDARY}--\r\n".encode()


def send(client: httpx.Client, body: bytes) -> httpx.Response:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return client.post("/enroll", content=body, headers={"content-type": kind})


def test_a_form_that_was_cut_off_is_refused_and_names_the_photo(client: httpx.Client) -> None:
    whole = form(sample_bytes("s01"), sample_bytes("s02"))
    second = whole.rindex(b"content-disposition")
    end = len(f"--{BOUNDARY}--\r\n")
    for cut, index in (
        (second - 500, 0),
        (second + 5000, 1),
        (len(whole) - end - 2, 1),
        (len(whole) - end, 1),
        (len(whole) - 4, 1),
    ):
        body = problem(send(client, whole[:cut]), 400, "malformed_request")
        assert body["index"] == index, cut
        assert "`images`" in body["detail"]
    assert client.get("/subjects/cut").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/identify", '{"image": "AAAA", "image": "BBBB"}'),
        ("POST", "/verify", '{"image": "AAAA", "subject_id": "a", "subject_id": "b"}'),
        ("POST", "/enroll", '{"subject_id": "a", "images": ["AAAA"], "metadata": {"x": {"y": 1, "y": 2}}}'),
        ("PATCH", "/subjects/twice", '{"metadata": {"a": 1}, "metadata": {"b": 2}}'),
        ("PATCH", "/subjects/twice", '{"metadata": {"a": 1, "a": 2}}'),
        ("POST", "/admin/evaluate", '{"dataset": "a", "dataset": "b"}'),
    ],
)
def test_a_name_given_twice_in_json_is_refused(
    client: httpx.Client, method: str, path: str, body: str
) -> None:
    answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
    assert "is given twice" in problem(answer, 400, "malformed_request")["detail"]


def test_a_name_given_twice_in_the_metadata_of_a_form_is_refused(client: httpx.Client) -> None:
    answer = enroll(client, "twice", sample_bytes("s01"), metadata='{"a": 1, "a": 2}')
    assert "is given twice" in problem(answer, 400, "malformed_request")["detail"]
