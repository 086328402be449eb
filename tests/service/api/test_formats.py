"""Every format over HTTP: files of phones, raw frames of cameras, base64 in JSON, and refusals by name."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.conftest import StartService, sample_bytes
from tests.service.api.photos import face, saved
from tests.service.api.test_errors import enroll, identify, problem

SHORT_FRAME = "data:application/octet-stream;format=Y8;width=9;height=9;base64,aGVsbG8="


def heic(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(picture).save(out, quality=95)
    return out.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def grey_face() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(face().convert("L"), np.uint8)


def raw_type(name: str, **declared: object) -> str:
    pixels = grey_face()
    values: dict[str, object] = {"width": pixels.shape[1], "height": pixels.shape[0]} | declared
    return f"application/octet-stream;format={name}" + "".join(f";{k}={v}" for k, v in values.items())


def raw_bytes(name: str) -> bytes:
    grey = grey_face().astype(np.uint16)
    match name:
        case "Y8" | "GREY":
            return grey.astype(np.uint8).tobytes()
        case "NV12":
            video = (16 + grey * (219 / 255)).astype(np.uint8)
            return video.tobytes() + bytes([128]) * (grey.size // 2)
        case _:
            return (grey << (int(name[1:]) - 8)).astype("<u2").tobytes()


@pytest.fixture
def enrolled(client: httpx.Client) -> str:
    assert enroll(client, "formats", saved(face(), "PNG")).status_code == 201
    return "formats"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("image/heic", heic(face())),
        ("image/heif", heic(face())),
        ("image/avif", saved(face(), "AVIF", quality=90)),
        ("image/jpg", saved(face(), "JPEG", quality=92)),
        ("application/octet-stream", heic(face())),
    ],
)
def test_files_of_phones_verify_as_form_and_as_body(
    client: httpx.Client, enrolled: str, kind: str, data: bytes
) -> None:
    answer = client.post(
        "/verify", data={"subject_id": enrolled}, files={"image": ("IMG_0001", data, kind)}
    ).json()
    assert (answer["decision"], answer["probe"]["condition"]["spectrum"]) == ("match", "vis")
    assert answer["score"] > 0.9
    found = identify(client, data, kind, top_k="100").json()["results"][0]
    assert found["condition"]["spectrum"] == "vis"
    assert identify(client, data, kind).status_code == 200


@pytest.mark.parametrize("name", ["GREY", "Y8", "Y10", "Y12", "Y16", "NV12"])
def test_raw_frames_are_matched_as_near_infrared(client: httpx.Client, enrolled: str, name: str) -> None:
    data, kind = raw_bytes(name), raw_type(name)
    body = identify(client, data, kind).json()["results"][0]
    assert body["condition"]["spectrum"] == "nir"
    answer = client.post("/verify", data={"subject_id": enrolled}, files={"image": ("frame", data, kind)})
    assert answer.json()["decision"] == "match", answer.text
    assert answer.json()["score"] > 0.8
    detected = client.post("/detect", content=data, headers={"content-type": kind}).json()
    assert detected["image"] == list(face().size)


def test_a_raw_frame_is_enrolled_as_what_the_request_says(client: httpx.Client) -> None:
    files = [("images", ("frame", raw_bytes("Y12"), raw_type("Y12")))]
    fields = {"subject_id": "formats-ir", "spectrum": "nir", "allow_duplicate": "true"}
    assert client.post("/enroll", data=fields, files=files).status_code == 201
    (sample,) = client.get("/subjects/formats-ir").json()["samples"]
    assert sample["spectrum"] == "nir"


def test_a_padded_raw_frame_gives_the_same_face(client: httpx.Client) -> None:
    grey = grey_face()
    padded = np.pad(grey, ((0, 0), (0, 24))).tobytes()
    kind = raw_type("Y8", stride=grey.shape[1] + 24)
    answers = [
        client.post("/detect", content=data, headers={"content-type": declared}).json()
        for data, declared in ((padded, kind), (raw_bytes("Y8"), raw_type("Y8")))
    ]
    assert answers[0] == answers[1]
    assert answers[0]["results"]


@pytest.mark.parametrize("name", ["Y8", "Y10", "Y16", "NV12"])
@pytest.mark.parametrize(
    ("declared", "code", "told"),
    [
        ({"height": 10}, "undecodable_image", "bytes, got"),
        ({"width": 0}, "invalid_parameter", "at least 1"),
        ({"height": "tall"}, "invalid_parameter", "whole number"),
        ({"stride": 3}, "invalid_parameter", "stride"),
        ({"colour": "no"}, "invalid_parameter", "colour"),
    ],
)
def test_a_wrong_size_is_422_and_says_what_is_wrong(
    client: httpx.Client, name: str, declared: dict[str, object], code: str, told: str
) -> None:
    kind = raw_type(name, **declared)
    body = problem(identify(client, raw_bytes(name), kind), 422, code)
    assert told in body["detail"]
    form = client.post("/identify", files={"image": ("frame", raw_bytes(name), kind)})
    assert problem(form, 422, code)["detail"] == body["detail"]


def test_an_unknown_frame_format_is_415_and_a_huge_one_413(client: httpx.Client) -> None:
    detail = problem(identify(client, b"x", raw_type("MJPG")), 415, "unsupported_media_type")["detail"]
    assert "GREY, Y8, Y10, Y12, Y16, NV12" in detail
    huge = raw_type("Y8", width=60_000, height=60_000)
    problem(identify(client, b"x", huge), 413, "image_too_large")


def test_json_gives_the_same_answers_as_a_form(client: httpx.Client, enrolled: str) -> None:
    photo = sample_bytes("s01")
    text = base64_of(photo)
    for path, asked in (("/identify", {"top_k": "3"}), ("/detect", {}), ("/embed", {})):
        given = client.post(path, json={"image": text}, params=asked)
        sent = client.post(path, content=photo, headers={"content-type": "image/jpeg"}, params=asked)
        assert given.status_code == 200, given.text
        assert given.json().get("results") == sent.json()["results"], path
    strict = client.post("/identify", json={"image": text, "threshold": 0.99, "top_k": 1}).json()["results"][
        0
    ]
    assert (strict["threshold"], len(strict["candidates"])) == (0.99, 1)
    one = client.post("/verify", json={"image": text, "subject_id": enrolled}).json()
    assert one["decision"] == "match"
    pair = client.post("/verify", json={"image": text, "reference": f"data:image/jpeg;base64,{text}"}).json()
    assert pair["score"] == pytest.approx(1.0, abs=1e-4)


def test_json_enrols_images_metadata_and_options(client: httpx.Client) -> None:
    content = {
        "subject_id": "formats-json",
        "images": [base64_of(sample_bytes("s01")), base64_of(heic(face()))],
        "metadata": {"desk": 7},
        "allow_duplicate": True,
        "spectrum": None,
    }
    answer = client.post("/enroll", json=content)
    assert answer.status_code == 201, answer.text
    assert len(answer.json()["samples"]) == 2
    assert client.get("/subjects/formats-json").json()["metadata"] == {"desk": 7}


def test_a_data_url_may_hold_a_raw_frame(client: httpx.Client) -> None:
    text = f"data:{raw_type('Y16')};base64,{base64_of(raw_bytes('Y16'))}"
    assert (
        client.post("/identify", json={"image": text}).json()["results"][0]["condition"]["spectrum"] == "nir"
    )


@pytest.mark.parametrize(
    ("body", "status", "code", "told"),
    [
        ("{broken", 400, "malformed_request", "no JSON"),
        ("[" * 60_000, 400, "malformed_request", "no JSON"),
        ("[" * 100_000, 413, "body_too_large", "beside its images"),
        ("[]", 422, "invalid_parameter", "JSON object"),
        ("{}", 422, "invalid_parameter", "`image`"),
        ('{"image": 7}', 422, "invalid_parameter", "base64"),
        ('{"image": "\\u00e9\\u00e9"}', 422, "invalid_parameter", "no base64"),
        ('{"image": "abc"}', 422, "invalid_parameter", "no base64"),
        ('{"image": ""}', 422, "invalid_parameter", "empty"),
        ('{"image": "data:image/png,abc"}', 422, "invalid_parameter", ";base64,"),
        ('{"image": "aGVsbG8="}', 415, "unsupported_media_type", "HEIC or AVIF"),
        ('{"image": "aGVsbG8=", "treshold": 0.9}', 422, "invalid_parameter", "did you mean `threshold`?"),
        ('{"image": "aGVsbG8=", "spectrum": "\\ud800"}', 422, "invalid_parameter", "surrogate"),
        ('{"image": "aGVsbG8=", "\\udfff": 1}', 422, "invalid_parameter", "surrogate"),
        (f'{{"image": "{SHORT_FRAME}"}}', 422, "undecodable_image", "has 81 bytes, got 5"),
    ],
)
def test_wrong_json_gets_a_clear_answer(
    client: httpx.Client, body: str, status: int, code: str, told: str
) -> None:
    answer = client.post("/identify", content=body, headers={"content-type": "application/json"})
    assert told in problem(answer, status, code)["detail"]


def test_caps_on_bytes_hold_for_base64_and_name_the_image(start_service: StartService) -> None:
    with start_service(HALFLIGHT_MAX_IMAGE_BYTES="65536").client() as client:
        fat, thin = base64_of(bytes(65_537)), base64_of(sample_bytes("s01"))
        problem(client.post("/identify", json={"image": fat}), 413, "image_too_large")
        content = json.dumps({"subject_id": "fat", "images": [thin, fat]})
        answer = client.post("/enroll", content=content, headers={"content-type": "application/json"})
        assert problem(answer, 413, "image_too_large")["index"] == 1


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("image/jp2", saved(face(), "JPEG2000"), "send JPEG"),
        ("image/gif", saved(face(), "GIF"), "send JPEG"),
        ("image/jpeg", saved(face(), "JPEG2000"), "JPEG 2000 is not decoded; send JPEG"),
        ("image/jpeg", saved(face(), "GIF"), "GIF is not decoded"),
    ],
)
def test_refused_formats_are_415_and_name_those_to_send(
    client: httpx.Client, kind: str, data: bytes, told: str
) -> None:
    assert told in problem(identify(client, data, kind), 415, "unsupported_media_type")["detail"]
    form = client.post("/identify", files={"image": ("picture", data, kind)})
    assert "send JPEG" in problem(form, 415, "unsupported_media_type")["detail"]


@pytest.mark.parametrize("kind", ["image/heic", "image/avif"])
def test_broken_files_of_phones_are_422(client: httpx.Client, kind: str) -> None:
    whole = heic(face()) if kind == "image/heic" else saved(face(), "AVIF")
    for share in (0.01, 0.3, 0.9):
        problem(identify(client, whole[: int(len(whole) * share)], kind), 422, "undecodable_image")
