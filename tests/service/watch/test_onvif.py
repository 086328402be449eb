"""Snapshots of an ONVIF camera: a camera that checks both logins, and names addresses nobody else knows."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from service.watch.config import OnvifSource
from service.watch.frames import SourceError
from service.watch.snapshots import SnapshotReader
from tests.service.watch.clip import FPS, LEAD_S, frames, sample
from tests.service.watch.conftest import Place, Watched, until
from tests.service.watch.onvif_camera import PASSWORD, Camera, served


def picture(value: int) -> bytes:
    return cv2.imencode(".png", np.full((48, 64), value, np.uint8))[1].tobytes()


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[Camera]:
    monkeypatch.setenv("CAMERA_PASSWORD", PASSWORD)
    with served(Camera([picture(20), picture(90)])) as one:
        yield one


def source(camera: Camera, **options: object) -> OnvifSource:
    given = {
        "name": "gate",
        "kind": "onvif",
        "url": camera.url,
        "spectrum": "nir",
        "fps": 20.0,
        "timeout_s": 5.0,
    }
    return OnvifSource.model_validate(given | options)


def test_snapshots_come_from_where_the_camera_was_asked_and_of_its_first_profile(camera: Camera) -> None:
    read = SnapshotReader(source(camera)).frames()
    first, second, third = (next(read) for _ in range(3))
    assert [int(one.pixels.mean()) for one in (first, second, third)] == [20, 90, 90]
    assert (first.pixels.shape, first.place) == ((48, 64), None)
    assert first.at_s < second.at_s < third.at_s
    assert (camera.refused, camera.profiles) == (0, ["night"])


def test_a_profile_can_be_named_and_visible_light_has_colours(camera: Camera) -> None:
    one = next(SnapshotReader(source(camera, profile="day", spectrum="vis")).frames())
    assert (one.pixels.shape, camera.profiles) == ((48, 64, 3), ["day"])


def test_a_wrong_password_is_said_and_not_shown(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "not-that-one")
    with pytest.raises(SourceError, match="refuses user or password") as raised:
        next(SnapshotReader(source(camera)).frames())
    assert "not-that-one" not in str(raised.value)
    assert (camera.shown, camera.refused) == (0, 1)


@pytest.mark.parametrize(
    ("prologue", "pictures", "said"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]>', [picture(0)], "a DTD"),
        ("<", [picture(0)], "no XML"),
        (" " * (1 << 20), [picture(0)], "too large"),
        ("", [b"no picture"], "is no picture"),
        ("", [b""], "is no picture"),
    ],
)
def test_what_no_camera_should_answer_is_said(
    camera: Camera, prologue: str, pictures: list[bytes], said: str
) -> None:
    camera.prologue, camera.pictures = prologue, pictures
    with pytest.raises(SourceError, match=said):
        next(SnapshotReader(source(camera)).frames())


def test_a_camera_that_is_away_is_said() -> None:
    away = OnvifSource.model_validate(
        {"name": "g", "kind": "onvif", "url": "http://127.0.0.1:9/", "timeout_s": 2.0}
    )
    with pytest.raises(SourceError, match="no answer"):
        next(SnapshotReader(away).frames())


@pytest.mark.parametrize("url", ["rtsp://h/", "http:///onvif", "http://${NO_SUCH}@h/"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|not set"):
        OnvifSource.model_validate({"name": "g", "kind": "onvif", "url": url})


@pytest.mark.slow
def test_somebody_in_the_snapshots_is_reported(camera: Camera, place: Place, watched: Watched) -> None:
    walk = list(frames([sample("s01")], seconds=3.0, pause_s=1.0))[int((LEAD_S - 1) * FPS) :: 3]
    camera.pictures = [cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes() for one in walk]
    watched.write({"name": "hall", "kind": "onvif", "url": camera.url, "spectrum": "nir", "fps": 4.0})
    watched.start(place)
    until(lambda: len(watched.decisions()) == 1, "somebody is reported")
    (one,) = watched.decisions()
    assert (one["decision"], one["subject_id"]) == ("match", "s01")
    assert watched.stop() == 0
