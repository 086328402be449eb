"""Tests every error of the contract over real HTTP."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.photos import bomb

PROBLEM = "application/problem+json"
JPEG = "image/jpeg"


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Asserts that the response is this problem in the shape of RFC 9457, and returns its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    assert body["status"] == status
    assert {"type", "title", "detail"} <= body.keys()
    assert body["type"].endswith(code)
    assert "/" not in body["detail"].replace("multipart/form-data", "").replace("image/", "")
    assert "Traceback" not in response.text
    return body


def picture(width: int = 64, height: int = 64) -> bytes:
    """Returns an image without a face."""
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    return out.getvalue()


def two_faces(small: float = 1.0) -> bytes:
    """Returns two sample faces side by side, the second scaled by `small`."""
    left = Image.open(io.BytesIO(sample_bytes("s01"))).convert("RGB")
    right = Image.open(io.BytesIO(sample_bytes("s02"))).convert("RGB")
    right = right.resize((round(right.width * small), round(right.height * small)))
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    out = io.BytesIO()
    both.save(out, "JPEG", quality=92)
    return out.getvalue()


def enroll(
    client: httpx.Client, subject: str, *images: bytes, key: str | None = None, **data: str
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    files = [("images", (f"{i}.jpg", image, JPEG)) for i, image in enumerate(images)]
    fields = {"subject_id": subject, "allow_duplicate": "true"} | data
    return client.post("/enroll", data=fields, files=files, headers=headers)


def identify(client: httpx.Client, image: bytes, kind: str = JPEG, **query: str) -> httpx.Response:
    return client.post("/identify", content=image, headers={"content-type": kind}, params=query)


def test_400_malformed_request(client: httpx.Client) -> None:
    broken = client.post(
        "/enroll",
        content=b"nonsense without a boundary",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    problem(broken, 400, "malformed_request")
    no_boundary = client.post("/enroll", content=b"x", headers={"content-type": "multipart/form-data"})
    problem(no_boundary, 400, "malformed_request")
    problem(enroll(client, "m1", sample_bytes("s01"), metadata="{broken"), 400, "malformed_request")
    body = client.patch("/subjects/x", content=b"{broken", headers={"content-type": "application/json"})
    problem(body, 400, "malformed_request")


def test_404_names_the_missing_resource(client: httpx.Client) -> None:
    problem(client.get("/subjects/nobody"), 404, "subject_not_found")
    problem(client.delete("/subjects/nobody"), 404, "subject_not_found")
    problem(client.patch("/subjects/nobody", json={"metadata": {}}), 404, "subject_not_found")
    files = {"image": ("a.jpg", sample_bytes("s01"), JPEG)}
    missing = client.post("/verify", data={"subject_id": "nobody"}, files=files)
    problem(missing, 404, "subject_not_found")
    assert enroll(client, "e404", sample_bytes("s01")).status_code == 201
    problem(client.delete("/subjects/e404/samples/none"), 404, "sample_not_found")
    problem(client.get("/nowhere"), 404, "not_found")
    problem(client.get("/identify"), 405, "method_not_allowed")


def test_409_duplicate_face_names_the_subject(start_service: StartService) -> None:
    with start_service().client() as client:
        first = enroll(client, "first", sample_bytes("s01"), allow_duplicate="false")
        assert first.status_code == 201
        again = enroll(client, "second", sample_bytes("s01"), allow_duplicate="false")
        assert problem(again, 409, "duplicate_face")["subject_id"] == "first"
        problem(client.get("/subjects/second"), 404, "subject_not_found")
        more = enroll(client, "first", sample_bytes("s01"), allow_duplicate="false")
        assert more.status_code == 201, "another sample of the same subject is no duplicate"
        allowed = enroll(client, "second", sample_bytes("s01"), allow_duplicate="true")
        assert allowed.status_code == 201


def test_409_idempotency_conflict_and_replay(client: httpx.Client) -> None:
    first = enroll(client, "idem", sample_bytes("s01"), key="k-1")
    assert first.status_code == 201
    again = enroll(client, "idem", sample_bytes("s01"), key="k-1")
    assert again.status_code == 201
    assert again.json() == first.json()
    assert len(client.get("/subjects/idem").json()["samples"]) == 1
    other = enroll(client, "idem", sample_bytes("s02"), key="k-1")
    problem(other, 409, "idempotency_conflict")


def test_413_too_large(start_service: StartService) -> None:
    limits = {"HALFLIGHT_MAX_IMAGE_BYTES": "65536", "HALFLIGHT_MAX_BODY_BYTES": "200000"}
    with start_service(HALFLIGHT_MAX_IMAGE_PIXELS="250000", **limits).client() as client:
        fat = sample_bytes("s01") + bytes(70_000)
        problem(identify(client, fat), 413, "image_too_large")
        two = enroll(client, "fat", sample_bytes("s01"), fat)
        assert problem(two, 413, "image_too_large")["index"] == 1
        problem(identify(client, bomb(20_000, 20_000), "image/png"), 413, "image_too_large")
        problem(identify(client, bomb(600, 600), "image/png"), 413, "image_too_large")
        problem(identify(client, bytes(300_000)), 413, "body_too_large")

        def chunks() -> Any:
            yield from (bytes(50_000) for _ in range(6))

        chunked = client.post("/identify", content=chunks(), headers={"content-type": JPEG})
        problem(chunked, 413, "body_too_large")
        assert client.get("/health/ready").status_code == 200


def test_415_unsupported_media_type(client: httpx.Client) -> None:
    problem(identify(client, b"hello", "text/plain"), 415, "unsupported_media_type")
    gif = io.BytesIO()
    Image.new("RGB", (32, 32)).save(gif, "GIF")
    problem(identify(client, gif.getvalue()), 415, "unsupported_media_type")
    problem(identify(client, b"%PDF-1.7 nothing"), 415, "unsupported_media_type")
    body = problem(enroll(client, "gif", gif.getvalue()), 415, "unsupported_media_type")
    assert body["index"] == 0
    problem(
        client.post("/enroll", content=b"x", headers={"content-type": JPEG}), 415, "unsupported_media_type"
    )


def test_422_undecodable_image(client: httpx.Client) -> None:
    problem(identify(client, sample_bytes("s01")[:2000]), 422, "undecodable_image")
    problem(identify(client, bomb(100, 100), "image/png"), 422, "undecodable_image")


def test_422_no_face(client: httpx.Client) -> None:
    problem(identify(client, picture(), "image/png"), 422, "no_face")
    body = problem(enroll(client, "none", picture()), 422, "no_face")
    assert body["index"] == 0
    detected = client.post("/detect", content=picture(), headers={"content-type": "image/png"})
    assert detected.status_code == 200
    assert detected.json()["results"] == []


def test_422_multiple_faces_only_if_the_second_is_half_as_large(client: httpx.Client) -> None:
    problem(enroll(client, "pair", two_faces()), 422, "multiple_faces")
    assert enroll(client, "main", two_faces(small=0.5)).status_code == 201
    everyone = identify(client, two_faces(), faces="all").json()
    assert len(everyone["results"]) == 2
    assert len(identify(client, two_faces()).json()["results"]) == 1


def test_422_low_quality_with_reasons(client: httpx.Client) -> None:
    face = Image.open(io.BytesIO(sample_bytes("s01"))).convert("RGB")
    small = face.resize((face.width // 6, face.height // 6))
    frame = Image.new("RGB", face.size, (90, 90, 90))
    frame.paste(small, (40, 40))
    out = io.BytesIO()
    frame.save(out, "PNG")
    body = problem(enroll(client, "tiny", out.getvalue()), 422, "low_quality")
    assert "face_too_small" in body["reasons"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: identify(c, sample_bytes("s01"), top_k="0"),
        lambda c: identify(c, sample_bytes("s01"), top_k="101"),
        lambda c: identify(c, sample_bytes("s01"), fmr="2"),
        lambda c: identify(c, sample_bytes("s01"), fmr="nan"),
        lambda c: identify(c, sample_bytes("s01"), threshold="x"),
        lambda c: identify(c, sample_bytes("s01"), fmr="1e-3", threshold="0.5"),
        lambda c: identify(c, sample_bytes("s01"), spectrum="uv"),
        lambda c: identify(c, sample_bytes("s01"), faces="some"),
        lambda c: identify(c, b""),
        lambda c: enroll(c, "no spaces", sample_bytes("s01")),
        lambda c: enroll(c, "x" * 129, sample_bytes("s01")),
        lambda c: enroll(c, "", sample_bytes("s01")),
        lambda c: enroll(c, "x", sample_bytes("s01"), spectrum="auto"),
        lambda c: enroll(c, "x", sample_bytes("s01"), allow_duplicate="perhaps"),
        lambda c: enroll(c, "x", sample_bytes("s01"), metadata="[1]"),
        lambda c: enroll(c, "x", sample_bytes("s01"), metadata=json.dumps({"a": "b" * 9000})),
        lambda c: enroll(c, "x", sample_bytes("s01"), metadata='{"a":' * 20 + "1" + "}" * 20),
        lambda c: enroll(c, "x", sample_bytes("s01"), metadata='{"a": "\\u0000"}'),
        lambda c: enroll(c, "x", *[sample_bytes("s01")] * 17),
        lambda c: c.post("/enroll", data={"subject_id": "x"}, files={"other": b"x"}),
        lambda c: c.post("/enroll", files={"images": sample_bytes("s01")}),
        lambda c: c.post("/verify", files={"image": sample_bytes("s01")}),
        lambda c: c.patch("/subjects/x", json={"metadata": []}),
        lambda c: c.patch("/subjects/x", json={"metadata": {}, "more": 1}),
        lambda c: c.get("/subjects", params={"limit": 0}),
        lambda c: c.get("/subjects", params={"cursor": "%%%"}),
    ],
)
def test_422_invalid_parameter(client: httpx.Client, ask: Callable[[httpx.Client], httpx.Response]) -> None:
    problem(ask(client), 422, "invalid_parameter")


def test_422_unsupported_fmr_lists_the_calibrated_points(client: httpx.Client) -> None:
    body = problem(identify(client, sample_bytes("s01"), fmr="1e-9"), 422, "unsupported_fmr")
    assert body["supported"]
    for point in body["supported"]:
        assert identify(client, sample_bytes("s01"), fmr=str(point)).status_code == 200


def test_429_rate_limited(start_service: StartService) -> None:
    limits = {"HALFLIGHT_RATE_LIMIT_PER_S": "0.01", "HALFLIGHT_RATE_LIMIT_BURST": "2"}
    with start_service(**limits).client() as client:
        for _ in range(2):
            assert client.get("/subjects").status_code == 200
        refused = client.get("/subjects")
        problem(refused, 429, "rate_limited")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/health/live").status_code == 200


def test_an_enrolment_with_one_good_image_reports_the_others(client: httpx.Client) -> None:
    mixed = enroll(client, "mixed", picture(), sample_bytes("s01"), b"GIF89a nothing")
    assert mixed.status_code == 201
    body = mixed.json()
    assert len(body["samples"]) == 1
    assert [(r["index"], r["code"]) for r in body["rejected"]] == [
        (0, "no_face"),
        (2, "unsupported_media_type"),
    ]


def test_an_enrolment_without_a_good_image_gives_every_reason(client: httpx.Client) -> None:
    body = problem(enroll(client, "none", b"GIF89a nothing", picture()), 422, "no_face")
    assert [r["code"] for r in body["rejected"]] == ["unsupported_media_type", "no_face"]
    problem(client.get("/subjects/none"), 404, "subject_not_found")


def test_an_invalid_key_costs_no_inference(service: Service) -> None:
    with service.client("hf_nonsense") as client:
        refused = identify(client, sample_bytes("s01"))
        problem(refused, 401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
