"""Tests that drawings, stamps and tints on a near-infrared frame do not make it visible light."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from faces.image import DecodeLimits, decode
from faces.spectrum import spectrum_of_face
from faces.types import Face, Image, Pixels, Spectrum
from tests.conftest import REPO, sample_bytes
from training.detector.candidates import open_candidate

LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
SUBJECTS = ("s01", "s02", "s05", "s09")
GREEN, RED, YELLOW = (0, 255, 0), (0, 0, 255), (0, 255, 255)
Change = Callable[[Pixels, Face], Pixels]


def drawn_box(pixels: Pixels, face: Face) -> Pixels:
    box, drawn = face.box, pixels.copy()
    corners = (int(box.x), int(box.y)), (int(box.x + box.width), int(box.y + box.height))
    cv2.rectangle(drawn, *corners, GREEN, 3)
    cv2.putText(drawn, "face .98", corners[0], cv2.FONT_HERSHEY_SIMPLEX, 0.5, RED, 1)
    return drawn


def time_stamp(pixels: Pixels, _face: Face) -> Pixels:
    drawn = pixels.copy()
    cv2.putText(drawn, "2026-11-28 12:00", (5, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.7, YELLOW, 2)
    cv2.putText(drawn, "CAM 1", (5, len(drawn) - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.9, RED, 2)
    return drawn


def uneven_tint(pixels: Pixels, _face: Face) -> Pixels:
    height, width = pixels.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    away = (x**2 + y**2)[:, :, None] * np.array([0.06, -0.12, 0.08]) + x[:, :, None] * [-0.06, 0.0, 0.06]
    tinted: Pixels = np.clip(pixels * (1 + away), 0, 255).astype(np.uint8)
    return tinted


def even_tint(pixels: Pixels, _face: Face) -> Pixels:
    tinted: Pixels = np.clip(pixels * np.array([1.02, 0.78, 1.0]), 0, 255).astype(np.uint8)
    return tinted


def as_it_is(pixels: Pixels, _face: Face) -> Pixels:
    return pixels


def compressed(pixels: Pixels) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def found(name: str, subject: str) -> tuple[Image, Face]:
    image = decode(sample_bytes(subject, name), limits=LIMITS)
    return image, open_candidate(REPO / "models" / "halflight-1").runner.faces(image)[0]


@pytest.mark.parametrize("change", [as_it_is, drawn_box, time_stamp, uneven_tint, even_tint])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_changed_infrared_frame_stays_infrared(subject: str, change: Change) -> None:
    image, face = found("nir_masked_1.jpg", subject)
    seen = compressed(change(np.array(image.pixels), face))
    assert spectrum_of_face(Image(seen, Spectrum.VIS), face) is Spectrum.NIR


@pytest.mark.parametrize("change", [as_it_is, drawn_box, time_stamp, uneven_tint])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_photo_in_visible_light_stays_visible(subject: str, change: Change) -> None:
    image, face = found("vis_1.jpg", subject)
    seen = compressed(change(np.array(image.pixels), face))
    assert spectrum_of_face(Image(seen, Spectrum.NIR), face) is Spectrum.VIS


@pytest.mark.parametrize("given", Spectrum)
def test_a_face_without_usable_pixels_takes_the_spectrum_of_its_picture(given: Spectrum) -> None:
    _, face = found("vis_1.jpg", "s01")
    for level in (0, 255):
        blank = np.full((400, 400, 3), level, np.uint8)
        assert spectrum_of_face(Image(blank, given), face) is given
