"""Photos that were turned without an EXIF tag are matched as if they were upright."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from PIL import Image

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
