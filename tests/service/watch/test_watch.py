"""`halflight watch` over a clip, a folder, an RTSP stream: everybody once and rightly, over kills too."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import httpx
import pytest

from service.live.watchers import SourceReport, WatcherReport
from service.watch.config import load_config
from service.watch.status import REPORTED
from tests.conftest import free_port
from tests.service.watch.clip import FPS, LEAD_S, sample, write_clip
from tests.service.watch.conftest import ENROLLED, ORDER, Place, Watched, told, tracks, until
from tests.service.watch.streaming import RtspServer

EXPECTED = [name if name in ENROLLED else None for name in ORDER]
IN_STREAM = ("s01", "s13", "s02", "s03")
GATE = {"name": "gate", "spectrum": "nir", "fps": 4.0}


def names(decisions: list[dict[str, object]]) -> list[object]:
    return [one["subject_id"] for one in decisions if not one["repeat"]]


def once(found: list[object]) -> None:
    """Each enrolled person was reported once, and each stranger as unknown, once."""
    assert Counter(found) == Counter(EXPECTED)


def test_a_recording_reports_everybody_once_and_rightly(clip: Path, place: Place, watched: Watched) -> None:
    port = free_port()
    watched.write({**GATE, "kind": "file", "path": str(clip)}, metrics_port=port)
    watched.start(place)
    until(lambda: bool(watched.decisions()), "a first decision")
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert re.search(r'halflight_watch_frames_total\{source="gate"\} [1-9]', metrics)
    assert watched.wait() == 0, watched.errors()
    assert names(watched.decisions()) == EXPECTED
    events = told(place, "gate")
    assert [one["subject"] and one["subject"]["subject_id"] for one in events] == EXPECTED
    assert {one["camera"] for one in events} == {"gate"}
    assert all(one["track"]["agree"] >= 2 for one in events)
    status = watched.status()
    (source,) = status["sources"]
    assert (source["state"], source["decisions"]) == ("ended", {"match": 4, "unknown": 2})
    assert status["spool"] == {"waiting": 0, "dropped": 0, "spoilt": 0}
    assert status["untold"] is None
    # What it reported last, the service tells an operator.
    (heard,) = place.admin.get("/watchers").json()["watchers"]
    (reported,) = WatcherReport.model_validate(heard["report"]).sources
    assert reported == SourceReport.model_validate({name: source[name] for name in REPORTED | {"trouble"}})
    assert (reported.last_decision, reported.decisions) == ("match", {"match": 4, "unknown": 2})
    assert heard["watcher"] == load_config(watched.folder / "sources.toml").name
    # The recording once more: the service knows these tracks, and nothing happens again.
    before = len(tracks(place, "gate"))
    watched.start(place)
    assert watched.wait() == 0
    assert len(tracks(place, "gate")) == before
    assert [one["event_id"] for one in told(place, "gate")] == [one["event_id"] for one in events]


@pytest.mark.slow
def test_kills_of_watcher_and_service_lose_no_track_and_report_none_twice(
    clip: Path, own_place: Place, watched: Watched
) -> None:
    place = own_place
    watched.write({**GATE, "kind": "file", "path": str(clip)})
    watched.start(place)
    until(lambda: len(tracks(place, "gate")) >= 1, "a first track")
    watched.kill()
    place.service.kill()
    watched.start(place)
    time.sleep(2)
    place.service.start()
    until(lambda: len(tracks(place, "gate")) >= 4, "further tracks")
    watched.kill()
    assert oct((watched.folder / "spool").stat().st_mode)[-3:] == "700"
    watched.start(place)
    assert watched.wait() == 0, watched.errors()
    entries = tracks(place, "gate")
    keys = Counter((one["detail"]["track"], one["detail"]["final"]) for one in entries)
    assert set(keys.values()) == {1}, "a track was decided twice"
    matched = [one["subject"] for one in entries if one["detail"]["decision"] == "match"]
    assert sorted(Counter(matched).values()) == [1, 1, 1, 1]
    strangers = [one for one in entries if one["detail"]["decision"] == "unknown" and one["detail"]["final"]]
    assert len(strangers) == 2


def serving(clip: Path, walking: tuple[str, ...], **options: Any) -> Iterator[RtspServer]:
    """A clip over RTSP, in real time; slower, since a busy machine looks at few frames of it."""
    people = [sample(name, rightwards=i % 2 == 0) for i, name in enumerate(walking)]
    server = RtspServer(write_clip(clip, people, seconds=4.0, **options))
    server.start()
    until(server.listens, "the RTSP server listens")
    yield server
    server.kill()


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[str]:
    """A poster hangs there, with a face for the detector. Those who come from the right appear before it."""
    for server in serving(tmp_path / "stream.mp4", IN_STREAM, pause_s=3.0, poster=True):
        yield server.url


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[RtspServer]:
    """A server that the test kills."""
    yield from serving(tmp_path / "frail.mp4", ("s01", "s13", "s02"), pause_s=2.0)


@pytest.mark.slow
def test_a_stream_reports_everybody_once_though_it_breaks_off(
    stream: str, place: Place, watched: Watched
) -> None:
    watched.write(
        {**GATE, "name": "street", "kind": "rtsp", "url": stream, "lost_s": 2.0, "again_after_s": 3600.0}
    )
    watched.start(place)

    known = {"s01", "s02", "s03"}

    def all_seen() -> bool:
        return {one["subject_id"] for one in watched.decisions()} >= known

    # The server ends each session with the clip, and the watcher opens another.
    until(all_seen, "everybody was seen")
    until(lambda: watched.status()["sources"][0]["reconnects"] >= 1, "the stream was opened again")
    assert watched.stop() == 0
    said = watched.decisions()
    assert Counter(name for name in names(said) if name) == Counter(dict.fromkeys(known, 1))
    events = told(place, "street")
    assert sorted(one["subject"]["subject_id"] for one in events if one["subject"]) == sorted(known)
    assert watched.status()["spool"]["waiting"] == 0


@pytest.mark.slow
def test_who_is_followed_while_the_server_is_killed_is_reported_and_nobody_twice(
    frail: RtspServer, place: Place, watched: Watched
) -> None:
    # Nothing is sent early: the track of the first person is all in memory when the picture ends.
    waits = {"early": 16, "enough": 60, "lost_s": 2.0, "again_after_s": 3600.0}
    watched.write({**GATE, "name": "lane", "kind": "rtsp", "url": frail.url, **waits})
    watched.start(place)
    status = watched.folder / "status.json"
    until(lambda: status.exists() and watched.status()["sources"][0]["faces"] >= 3, "somebody is followed")
    assert watched.decisions() == []
    frail.kill()
    until(lambda: names(watched.decisions()) == ["s01"], "who was followed is reported")
    until(lambda: watched.status()["sources"][0]["state"] == "waiting", "the server is missed")
    frail.start()
    until(lambda: {"s01", "s02"} <= {one["subject_id"] for one in watched.decisions()[1:]}, "they walk anew")
    assert watched.stop() == 0
    found = Counter(name for name in names(watched.decisions()) if name)
    assert found == {"s01": 1, "s02": 1}
    events = [one["subject"]["subject_id"] for one in told(place, "lane") if one["subject"]]
    assert Counter(events) == found
    sent = Counter((one["detail"]["track"], one["detail"]["final"]) for one in tracks(place, "lane"))
    assert set(sent.values()) == {1}, "a track was decided twice"
    assert watched.status()["spool"]["waiting"] == 0


def test_a_folder_of_frames_is_one_camera(clip: Path, place: Place, watched: Watched) -> None:
    folder = watched.folder / "frames"
    folder.mkdir()
    # From the last frame before the first person on.
    first = int(LEAD_S * FPS) // 4 * 4
    with av.open(str(clip)) as container:
        for i, decoded in enumerate(container.decode(video=0)):
            if i % 4 == 0 and first <= i < first + 32:
                cv2.imwrite(str(folder / f"{i:04}.png"), decoded.to_ndarray(format="gray"))
    (folder / "0005.jpg").write_bytes(b"no picture")
    watched.write({**GATE, "name": "yard", "kind": "folder", "path": "frames"})
    watched.start(place)
    assert watched.wait() == 0, watched.errors()
    assert names(watched.decisions()) == ["s01"]
    assert json.loads((watched.folder / "status.json").read_text())["sources"][0]["frames"] == 8
