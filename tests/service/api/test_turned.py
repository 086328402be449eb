"""Photos that were turned without an EXIF tag are matched as if they were upright."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import StartService
from tests.service.api.photos import face, noise, saved
from tests.service.api.test_errors import enroll, identify, problem

# What was done to the photo, and the clockwise turn that undoes it.
TURNED = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("rotation", TURNED)
def test_a_turned_photo_is_enrolled_and_matched_upright(client: httpx.Client, rotation: int) -> None:
    upright, given = saved(face(), "PNG"), saved(face().transpose(TURNED[rotation]), "PNG")
    subject = f"turned-{rotation}"
    answer = enroll(client, subject, given)
    assert answer.status_code == 201, answer.text
    (sample,) = answer.json()["samples"]
    assert sample["face"]["rotation"] == rotation
    assert sample["quality"]["score"] > 60
    verified = client.post("/verify", data={"subject_id": subject}, files={"image": ("p", upright)}).json()
    assert verified["decision"] == "match"
    assert verified["score"] > 0.9
    assert verified["probe"]["face"]["rotation"] == 0
    client.delete(f"/subjects/{subject}")


@pytest.mark.parametrize("rotation", TURNED)
def test_landmarks_stay_in_the_given_image(client: httpx.Client, rotation: int) -> None:
    photo = face()
    width, height = photo.size
    (there,) = client.post("/detect", files={"image": ("p", saved(photo, "PNG"))}).json()["results"][:1]
    given = saved(photo.transpose(TURNED[rotation]), "PNG")
    body = client.post("/detect", files={"image": ("p", given)}).json()
    (found,) = body["results"][:1]
    assert found["rotation"] == rotation
    assert body["image"] == ([width, height] if rotation == 180 else [height, width])
    points = np.array(there["landmarks"])
    x, y = points[:, 0], points[:, 1]
    wanted = {90: (y, width - x), 180: (width - x, height - y), 270: (height - y, x)}[rotation]
    assert np.abs(np.array(found["landmarks"]) - np.stack(wanted, axis=1)).max() < 2


def test_a_face_that_is_as_upright_either_way_is_not_enrolled(client: httpx.Client) -> None:
    pixels = np.asarray(face(), np.uint16)
    both = Image.fromarray(((pixels + pixels[::-1, ::-1]) // 2).astype(np.uint8))
    problem(enroll(client, "either-way", saved(both, "PNG")), 422, "unsure_orientation")
    assert identify(client, saved(both, "PNG"), "image/png").status_code == 200
    assert client.get("/subjects/either-way").status_code == 404


def test_an_upright_photo_says_so_and_an_empty_one_stays_empty(client: httpx.Client) -> None:
    (result,) = identify(client, saved(face(), "JPEG", quality=92)).json()["results"]
    assert result["face"]["rotation"] == 0
    empty = saved(noise(np.random.default_rng(4)), "PNG")
    assert client.post("/detect", files={"image": ("p", empty)}).json()["results"] == []


@pytest.mark.parametrize("turn", TURNED)
def test_a_known_turn_counts_before_detection(client: httpx.Client, turn: int) -> None:
    photo = face()
    width, height = photo.size
    (there,) = client.post("/v1/detect", files={"image": ("p", saved(photo, "PNG"))}).json()["results"][:1]
    given = saved(photo.transpose(TURNED[turn]), "PNG")
    body = client.post("/v1/detect", params={"turn": turn}, files={"image": ("p", given)}).json()
    (found,) = body["results"][:1]
    assert found["rotation"] == turn
    points = np.array(there["landmarks"])
    x, y = points[:, 0], points[:, 1]
    wanted = {90: (y, width - x), 180: (width - x, height - y), 270: (height - y, x)}[turn]
    assert np.abs(np.array(found["landmarks"]) - np.stack(wanted, axis=1)).max() < 2
    (probe,) = identify(client, given, "image/png", turn=str(turn)).json()["results"]
    assert probe["face"]["rotation"] == turn


def test_a_known_turn_is_taken_as_it_is_for_probes_and_checked_at_enrolment(client: httpx.Client) -> None:
    upright = saved(face(), "PNG")
    body = client.post("/v1/detect", params={"turn": "180"}, files={"image": ("p", upright)}).json()
    assert all(one["rotation"] == 180 for one in body["results"])
    refused = problem(enroll(client, "wrong-turn", upright, turn="180"), 422, "unsure_orientation")
    assert "turn=180" in refused["detail"]
    assert enroll(client, "right-turn", upright, turn="0").status_code == 201
    upside_down = saved(face().transpose(TURNED[180]), "PNG")
    (sample,) = enroll(client, "right-turn", upside_down, turn="180").json()["samples"]
    assert sample["face"]["rotation"] == 180
    client.delete("/subjects/right-turn")
    files = {"image": ("p", upright)}
    problem(client.post("/v1/detect", params={"turn": "45"}, files=files), 422, "invalid_parameter")
    problem(client.post("/v1/identify", data={"turn": "45"}, files=files), 422, "invalid_parameter")
    problem(enroll(client, "wrong-turn", upright, turn="45"), 422, "invalid_parameter")


def test_the_setting_turns_probes_and_no_enrolment_photos(start_service: StartService) -> None:
    upright, hung = saved(face(), "PNG"), saved(face().transpose(TURNED[180]), "PNG")
    with start_service(HALFLIGHT_CAMERA_TURN="180").client() as client:
        assert enroll(client, "anna", upright).json()["samples"][0]["face"]["rotation"] == 0
        (found,) = identify(client, hung, "image/png").json()["results"]
        assert (found["face"]["rotation"], found["decision"]) == (180, "match")
        files = {"image": ("p", hung), "reference": ("r", upright)}
        verified = client.post("/v1/verify", files=files).json()
        assert verified["probe"]["face"]["rotation"] == 180
        assert verified["reference"]["face"]["rotation"] == 0
        assert verified["decision"] == "match"
        (asked,) = identify(client, upright, "image/png", turn="0").json()["results"]
        assert asked["face"]["rotation"] == 0
