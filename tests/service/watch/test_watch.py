"""`halflight watch` over a clip, a folder, an RTSP stream: everybody once and rightly, over kills too."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import httpx
import pytest

from tests.conftest import free_port
from tests.service.watch.clip import FPS, LEAD_S, sample, write_clip
from tests.service.watch.conftest import ENROLLED, ORDER, Place, Watched, told, tracks, until

SERVER = Path(__file__).with_name("rtsp_server.py")
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


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[str]:
    """A clip over RTSP, in real time; slower, since a busy machine looks at few frames of it.

    A poster hangs there, with a face for the detector. Those who come from the right appear before it.
    """
    people = [sample(name, rightwards=i % 2 == 0) for i, name in enumerate(IN_STREAM)]
    clip = write_clip(tmp_path / "stream.mp4", people, seconds=4.0, pause_s=3.0, poster=True)
    port, ask = free_port(), "import gi; gi.require_version('GstRtspServer', '1.0')"
    if subprocess.run(["/usr/bin/python3", "-c", ask], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("GStreamer's RTSP server is not installed: see .ci/run")
    process = subprocess.Popen(["/usr/bin/python3", str(SERVER), str(port), str(clip)])

    def listens() -> bool:
        assert process.poll() is None, "the RTSP server has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(listens, "the RTSP server listens")
    yield f"rtsp://127.0.0.1:{port}/clip"
    process.kill()
    process.wait()


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
