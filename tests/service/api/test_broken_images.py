"""Tests 200 broken images over HTTP: each gets a clear refusal, and the service stays unchanged."""

from __future__ import annotations

import httpx
import pytest

from tests.service.api.photos import Broken, broken_images, face, saved, sixteen_bit, turned
from tests.service.api.test_errors import enroll, identify, problem

STATUS = {"undecodable_image": 422, "no_face": 422, "image_too_large": 413, "unsupported_media_type": 415}


def test_200_broken_images_are_refused_clearly_by_a_running_service(client: httpx.Client) -> None:
    files = list(broken_images())
    assert len(files) == 200
    assert len({file.data for file in files}) == 200
    wrong = [told for number, file in enumerate(files) if (told := unclear(client, number, file))]
    assert not wrong, "\n".join(wrong)
    assert client.get("/health/ready").status_code == 200
    assert client.get("/subjects/broken").status_code == 404


def unclear(client: httpx.Client, number: int, file: Broken) -> str | None:
    """Returns the fault of the answer to one file, None for a clear refusal. Enrols every fourth."""
    if number % 4 == 0:
        answer = enroll(client, "broken", file.data)
    else:
        answer = identify(client, file.data, file.media_type)
    if answer.status_code == 200 or answer.status_code >= 500:
        return f"{number} {file.what} {file.media_type}: {answer.status_code}"
    body = problem(answer, answer.status_code, answer.json()["code"])
    if body["code"] not in file.codes or body["status"] != STATUS[body["code"]]:
        return f"{number} {file.what} {file.media_type}: {body['code']}: {body['detail']}"
    return None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("16-bit grey", sixteen_bit(face())),
        ("CMYK", saved(face().convert("CMYK"), "JPEG", quality=92)),
        ("on its head", turned(face(), 3)),
        ("on its right side", turned(face(), 6)),
        ("on its left side", turned(face(), 8)),
        ("TIFF", saved(face(), "TIFF")),
        ("grey", saved(face().convert("L"), "PNG")),
    ],
)
def test_unusual_but_valid_images_are_matched(client: httpx.Client, name: str, data: bytes) -> None:
    assert enroll(client, "whole", saved(face(), "PNG")).status_code == 201
    files = {"image": (name, data)}
    answer = client.post("/verify", data={"subject_id": "whole"}, files=files)
    assert answer.status_code == 200, answer.text
    assert answer.json()["decision"] == "match"
    assert answer.json()["score"] > 0.8


def test_sixteen_bit_and_grey_images_are_recognised_as_near_infrared(client: httpx.Client) -> None:
    answer = client.post("/identify", content=sixteen_bit(face()), headers={"content-type": "image/png"})
    assert answer.json()["results"][0]["condition"]["spectrum"] == "nir"
