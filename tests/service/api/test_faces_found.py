"""Tests over HTTP that answers count the faces, and that `min_detection_score` decides which count."""

from __future__ import annotations

import cv2
import httpx
import numpy as np
import pytest

from tests.conftest import sample_bytes

ROUTES = ("/identify", "/verify", "/embed", "/detect")


def side_by_side(*subjects: str) -> bytes:
    """The photos of several subjects in one row, as PNG."""
    photos = [
        np.asarray(cv2.imdecode(np.frombuffer(sample_bytes(subject), np.uint8), cv2.IMREAD_COLOR))
        for subject in subjects
    ]
    _, data = cv2.imencode(".png", np.hstack(photos))
    return data.tobytes()


def ask(client: httpx.Client, route: str, image: bytes, **fields: str) -> httpx.Response:
    files = {"image": image} | ({"reference": image} if route == "/verify" else {})
    return client.post(route, files=files, data=fields)


@pytest.mark.parametrize("route", ROUTES)
def test_every_answer_counts_the_faces(builtin_client: httpx.Client, route: str) -> None:
    for subjects in (("s01",), ("s01", "s02"), ("s01", "s02", "s05")):
        answer = ask(builtin_client, route, side_by_side(*subjects)).json()
        assert answer["faces_found"] == len(subjects)
        assert answer["faces_below_score"] == 0
        if route == "/verify":
            assert answer["reference"]["faces_found"] == len(subjects)


@pytest.mark.parametrize("route", ROUTES)
def test_a_higher_score_may_be_asked_for_in_query_and_form(builtin_client: httpx.Client, route: str) -> None:
    two = side_by_side("s01", "s02")
    scores = sorted(face["detection_score"] for face in ask(builtin_client, "/detect", two).json()["results"])
    between = str((scores[0] + scores[1]) / 2)
    files = {"image": two} | ({"reference": two} if route == "/verify" else {})
    by_form = ask(builtin_client, route, two, min_detection_score=between)
    by_query = builtin_client.post(route, files=files, params={"min_detection_score": between})
    for answer in (by_form.json(), by_query.json()):
        assert (answer["faces_found"], answer["faces_below_score"]) == (1, 1)
    none = ask(builtin_client, route, two, min_detection_score="0.9999")
    if route == "/detect":
        assert (none.json()["faces_found"], none.json()["faces_below_score"]) == (0, 2)
    else:
        assert (none.status_code, none.json()["code"]) == (422, "no_face")
        assert (none.json()["faces_found"], none.json()["faces_below_score"]) == (0, 2)


def test_enrolment_counts_the_faces_and_takes_the_option(builtin_client: httpx.Client) -> None:
    two = side_by_side("s03", "s04")
    refused = builtin_client.post("/enroll", files={"images": two}, data={"subject_id": "two"})
    assert refused.json()["code"] == "multiple_faces"
    assert refused.json()["faces_found"] == 2
    scores = sorted(face["detection_score"] for face in ask(builtin_client, "/detect", two).json()["results"])
    chosen = {"subject_id": "two", "min_detection_score": str(sum(scores) / 2)}
    (sample,) = builtin_client.post("/enroll", files={"images": two}, data=chosen).json()["samples"]
    assert (sample["faces_found"], sample["faces_below_score"]) == (1, 1)


@pytest.mark.parametrize("score", ["0.1", "1", "nan", "high"])
def test_an_impossible_score_is_refused(builtin_client: httpx.Client, score: str) -> None:
    image = sample_bytes("s01")
    answers = [ask(builtin_client, route, image, min_detection_score=score) for route in ROUTES]
    fields = {"subject_id": "no", "min_detection_score": score}
    answers.append(builtin_client.post("/enroll", files={"images": image}, data=fields))
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")
        assert "min_detection_score" in answer.json()["detail"]
