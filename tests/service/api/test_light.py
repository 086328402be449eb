"""Tests over HTTP what a frame's drawings and exposure do to the condition and the quality of its face."""

from __future__ import annotations

import cv2
import httpx
import numpy as np
import pytest

from faces.types import Pixels
from tests.conftest import sample_bytes

SUBJECTS = ("s01", "s02", "s05")


def frame(subject: str, name: str) -> Pixels:
    decoded = cv2.imdecode(np.frombuffer(sample_bytes(subject, name), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(decoded, np.uint8)


def bare_infrared(subject: str) -> Pixels:
    """The red channel of a photo, the nearest to near infrared that a face without a mask has here."""
    return np.repeat(frame(subject, "vis_1.jpg")[:, :, 2:], 3, axis=2)


def exposed(pixels: Pixels, *, gain: float = 1.0, offset: float = 0.0) -> Pixels:
    return np.asarray(np.clip(pixels * gain + offset, 0, 255), np.uint8)


def coded(pixels: Pixels) -> bytes:
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data.tobytes()


def identified(client: httpx.Client, pixels: Pixels) -> dict[str, dict[str, object]]:
    answer = client.post("/identify", files={"image": coded(pixels)})
    assert answer.status_code == 200, answer.text
    found: dict[str, dict[str, object]] = answer.json()["results"][0]
    return found


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_drawn_box_and_a_time_stamp_leave_an_infrared_frame_infrared(
    builtin_client: httpx.Client, subject: str
) -> None:
    pixels = frame(subject, "nir_masked_1.jpg")
    place = builtin_client.post("/detect", files={"image": coded(pixels)}).json()
    assert place["spectrum"] == "nir"
    left, top, width, height = (int(v) for v in place["results"][0]["box"])
    cv2.rectangle(pixels, (left, top), (left + width, top + height), (0, 255, 0), 3)
    cv2.putText(pixels, "12:00:00", (4, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 255, 255), 2)
    condition = identified(builtin_client, pixels)["condition"]
    assert (condition["spectrum"], condition["mask_state"]) == ("nir", "masked")
    assert builtin_client.post("/detect", files={"image": coded(pixels)}).json()["spectrum"] == "nir"


@pytest.mark.parametrize("gain", [1.5, 2.0, 2.5])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_an_overexposed_bare_face_is_never_called_masked(
    builtin_client: httpx.Client, subject: str, gain: float
) -> None:
    condition = identified(builtin_client, exposed(bare_infrared(subject), gain=gain, offset=40.0))[
        "condition"
    ]
    assert condition["mask_state"] in ("unmasked", "uncertain")


@pytest.mark.parametrize(("gain", "others"), [(0.2, set()), (0.1, {"uncertain"})])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_dark_frame_keeps_its_mask_state_and_says_that_it_is_dark(
    builtin_client: httpx.Client, subject: str, gain: float, others: set[str]
) -> None:
    bare = identified(builtin_client, exposed(bare_infrared(subject), gain=gain))
    assert bare["condition"]["mask_state"] in {"unmasked"} | others
    masked = identified(builtin_client, exposed(frame(subject, "nir_masked_1.jpg"), gain=gain))
    assert masked["condition"]["mask_state"] in {"masked"} | others
    for seen in (bare, masked):
        assert isinstance(reasons := seen["quality"]["reasons"], list)
        assert {"badly_exposed", "too_dark"} <= set(reasons)
        assert "too_bright" not in reasons
