"""The parts of the watcher: its configuration, the gate for motion, tracks, and what waits on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from halflight.client.errors import RateLimited, Unreachable
from service.live.watchers import WatcherReport
from service.watch.config import ConfigError, FileSource, RtspSource, WatchConfig, load_config
from service.watch.frames import Frame, MotionGate, cut_out
from service.watch.sending import pause_s, said
from service.watch.spool import Spool, Waiting
from service.watch.status import SourceStatus, WatchStatus
from service.watch.tracking import SeenFace, Tracker
from tests.service.cli.command import fails, succeeds

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = 'spool = "spool"\n\n[[source]]\nname = "gate"\nkind = "file"\npath = "a.mp4"\n'
RTSP = '[[source]]\nname = "b"\nkind = "rtsp"\nurl = '
GREY = np.full((200, 400), 40, np.uint8)


def written(folder: Path, text: str) -> Path:
    path = folder / "sources.toml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file_and_what_is_absent_has_a_default(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    (source,) = config.source
    assert isinstance(source, FileSource)
    assert (config.spool, source.path) == (tmp_path / "spool", tmp_path / "a.mp4")
    assert (source.fps, source.turn, source.again_after_s) == (5.0, 0, 30.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "fps = 0\n", r"source\.0\.fps \(line 7\)"),
        (GOOD + 'colour = "red"\n', r"source\.0\.colour \(line 7\)"),
        (GOOD + 'fps = "5"\n', r"source\.0\.fps \(line 7\)"),
        (GOOD + "early = 9\nenough = 3\n", r"source\.0 \(line 3\): `early` is at most"),
        (GOOD + "agree = 9\n", r"source\.0 \(line 3\): `agree` is at most `frames`"),
        (GOOD.replace('path = "a.mp4"\n', ""), r"source\.0\.path \(line 3\)"),
        (GOOD.replace('"file"', '"film"'), r"source\.0 \(line 3\)"),
        (GOOD + GOOD.partition("\n\n")[2], "two sources are called gate"),
        ("spool = \n", "line 1"),
        ('spool = "s"\nspools = 1\n' + GOOD.partition("\n\n")[2], r"spools \(line 2\)"),
        ('spool = "s"\n', "source"),
        (GOOD + RTSP + '"http://h/"\n', r"source\.1\.url \(line 10\)"),
        (
            GOOD + '[[source]]\nname = "b"\nkind = "rtsp"\nurl = "rtsp://${NO_SUCH}@h/"\n',
            "NO_SUCH is not set",
        ),
    ],
)
def test_a_fault_is_named_with_its_key_and_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(written(tmp_path, text))


def test_a_password_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_PASSWORD", "secret-word")
    source = RtspSource(name="a", kind="rtsp", url="rtsp://me:${GATE_PASSWORD}@h/s")
    assert source.address == "rtsp://me:secret-word@h/s"
    assert "secret-word" not in repr(source)


def test_the_gate_opens_for_what_moves_and_not_for_light_or_noise() -> None:
    gate, rng = MotionGate(0.002), np.random.default_rng(3)
    assert gate.moves(GREY)
    assert not gate.moves(np.clip(GREY + rng.normal(0, 3, GREY.shape), 0, 255).astype(np.uint8))
    assert not gate.moves(GREY + 60)
    moved = GREY + 60
    moved[80:120, 100:140] = 220
    assert gate.moves(moved)
    assert MotionGate(0).moves(GREY)


def test_a_face_is_cut_out_with_what_is_around_it() -> None:
    assert cut_out(GREY, (100, 50, 40, 50), 1.0).shape == (151, 121)
    assert cut_out(GREY, (-10, -10, 40, 50), 1.0).shape == (91, 71)


def tracker(**options: object) -> Tracker:
    return Tracker(FileSource.model_validate({"name": "g", "kind": "file", "path": Path("x")} | options))


def at(seconds: float) -> Frame:
    return Frame(GREY, seconds, NOON + timedelta(seconds=seconds), f"clip:{seconds:.3f}")


def seen(x: float, quality: int | None = 60, y: float = 60) -> SeenFace:
    return SeenFace((x, y, 50.0, 60.0), 0.9, quality)


def test_two_people_who_pass_each_other_stay_two_tracks() -> None:
    follows = tracker()
    for i in range(10):
        assert not follows.update(at(i * 0.2), [seen(20 + 30 * i, y=40), seen(320 - 30 * i, y=120)])
    assert [round(one.box[0]) for one in follows.tracks] == [290, 50]
    assert [one.good for one in follows.tracks] == [10, 10]
    assert [len(one.shots) for one in follows.tracks] == [8, 8]


def test_a_track_ends_when_its_face_has_gone_and_a_later_one_is_another() -> None:
    follows = tracker()
    follows.update(at(0), [seen(50)])
    (first,) = follows.tracks
    assert follows.update(at(0.5), []) == []
    assert follows.update(at(1.0), []) == [first]
    follows.update(at(1.2), [seen(50)])
    (second,) = follows.tracks
    assert second.name != first.name
    assert follows.update(at(2.1), [seen(50)]) == [second], "no frame between says that the place was empty"
    assert follows.tracks[0].name not in (first.name, second.name)
    # The clock of a source that is opened again begins anew.
    assert len(follows.update(at(0.1), [])) == 1
    again = tracker()
    again.update(at(0), [seen(50)])
    assert again.tracks[0].name == first.name, "a recording that is read again has the same tracks"


def test_somebody_who_passes_a_poster_neither_takes_its_track_nor_leaves_their_own_to_it() -> None:
    rng = np.random.default_rng(4)
    poster, passer = (cv2.resize(rng.integers(0, 255, (8, 8), np.uint8), (50, 60)) for _ in range(2))
    follows, owners = tracker(), {"poster": set[str](), "passer": set[str]()}
    for i in range(12):
        pixels, x = GREY.copy(), 20 + 30 * i
        pixels[60:120, 200:250] = poster
        pixels[60:120, x : x + 50] = passer[:, : GREY.shape[1] - x]
        hidden = abs(x - 200) < 50
        faces = [seen(x)] if hidden else [seen(x), seen(200)]
        follows.update(Frame(pixels, i * 0.2, NOON, f"clip:{i}"), faces)
        for one in follows.tracks:
            if one.last_s == i * 0.2:
                owners["poster" if one.box[0] == 200 and x != 200 else "passer"].add(one.name)
    assert not owners["poster"] & owners["passer"]
    assert len(owners["passer"]) == 1


def test_who_stands_still_and_was_reported_is_not_looked_at_until_something_moves() -> None:
    follows = tracker()
    assert follows.rest(0.0), "nobody is there"
    follows.update(at(0.2), [seen(50)])
    (track,) = follows.tracks
    assert not follows.rest(0.4), "the track waits for more frames"
    track.closed = True
    assert all(follows.rest(0.4 + 0.2 * i) for i in range(10))
    assert follows.update(at(2.4), [seen(55)]) == [], "it has not ended meanwhile"
    assert follows.tracks == [track]
    assert not follows.rest(9.0), "no frame between says that they were still there"


def test_the_best_frames_are_kept_and_poor_ones_never() -> None:
    follows = tracker(frames=2)
    for i, quality in enumerate((30, 80, None, 10, 50, 70)):
        follows.update(at(i * 0.2), [seen(50, quality)])
    (track,) = follows.tracks
    assert track.good == 4
    assert [round(one.at_s, 1) for one in track.shots] == [0.2, 1.0]


def waiting(track: str = "t", *, size: int = 100, final: bool = True) -> Waiting:
    return Waiting(
        number=0,
        source="gate",
        track=track,
        final=final,
        seen_at=NOON,
        spectrum="nir",
        turn="0",
        fmr=None,
        agree=None,
        quiet_s=30,
        frames=(b"\xff\xd8" * (size // 2),),
    )


def test_what_waits_is_on_disk_in_order_for_its_owner_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 10_000)
    for name in ("a", "b"):
        spool.add(waiting(name))
    assert {oct(one.stat().st_mode & 0o777) for one in (tmp_path / "spool").iterdir()} == {"0o600"}
    again = Spool(tmp_path / "spool", 10_000)
    first = again.first(0)
    assert first is not None
    assert (first.track, first.frames, len(again)) == ("a", waiting("a").frames, 2)
    again.done(first.number)
    second = again.first(0)
    assert second is not None
    assert (second.track, second.idempotency_key) == ("b", "gate/b/final")
    again.done(second.number)
    assert again.first(0) is None
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_full_spool_drops_the_oldest_that_is_not_being_sent(tmp_path: Path) -> None:
    size = 1000
    spool = Spool(tmp_path, 4 * size)
    for name in "abc":
        spool.add(waiting(name, size=size // 2))
    held = spool.first(0)
    for name in "defg":
        spool.add(waiting(name, size=size // 2))
    assert spool.dropped == 7 - len(spool) > 0
    assert held is not None
    left = [Waiting.model_validate_json(one.read_bytes()).track for one in sorted(tmp_path.iterdir())]
    assert left[0] == held.track == "a"
    assert left[1:] == sorted("bcdefg")[spool.dropped :]


def test_a_request_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000)
    spool.add(waiting("a"))
    spool.add(waiting("b"))
    (tmp_path / "000000000001.track").write_bytes(b"{")
    found = spool.first(0)
    assert found is not None
    assert (found.track, spool.spoilt) == ("b", 1)


KILLED = """
import os, signal, sys
from pathlib import Path
from service.watch.spool import Spool
from tests.service.watch.test_parts import waiting
spool = Spool(Path(sys.argv[1]), 1 << 20)
for i in range(5):
    spool.add(waiting(f"t{i}"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_has_added_is_there(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    spool = Spool(tmp_path, 1 << 20)
    found = []
    while (one := spool.first(0)) is not None:
        found.append(one.track)
        spool.done(one.number)
    assert found == [f"t{i}" for i in range(5)]


def test_a_busy_service_is_left_alone_for_as_long_as_it_asks() -> None:
    busy = RateLimited({"status": 429, "code": "rate_limited", "detail": "too often"}, retry_after_s=7)
    assert all(7 <= pause_s(busy, n) <= 8.75 for n in (1, 5))
    gone = Unreachable("no answer")
    assert [
        round(max(pause_s(gone, n) for _ in range(200)), 1) <= top for n, top in ((1, 0.5), (3, 2), (99, 30))
    ]
    assert (said(busy), said(gone)) == ("429 rate_limited", "Unreachable")


def test_metrics_and_status_tell_of_each_source(tmp_path: Path) -> None:
    source = SourceStatus("gate", state="watching", frames=9)
    source.dropped["behind"] += 2
    source.decided("match")
    status = WatchStatus([source], Spool(tmp_path, 1000))
    registry = CollectorRegistry()
    registry.register(status)
    text = generate_latest(registry).decode()
    assert 'halflight_watch_frames_total{source="gate"} 9.0' in text
    assert 'halflight_watch_dropped_total{reason="behind",source="gate"} 2.0' in text
    assert 'halflight_watch_decisions_total{decision="match",source="gate"} 1.0' in text
    told = status.as_json()
    assert (told["schema_version"], told["sources"][0]["dropped"]) == (1, {"behind": 2})
    source.trouble = "x" * 1000
    report = WatcherReport.model_validate(status.as_report())
    assert report.sources[0].last_decision == "match"
    assert report.sources[0].trouble == "x" * 300


def test_a_configuration_is_frozen(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    with pytest.raises(ValueError, match="frozen"):
        config.spool_mib = 3  # type: ignore[misc]
    assert isinstance(config, WatchConfig)


def test_a_check_names_the_sources_that_are_not_there(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    fails(1, "watch", "--check", path, expected=["what some sources watch is not there", "gate: ", "a.mp4"])
    (tmp_path / "a.mp4").touch()
    assert "1 source, no fault found" in succeeds("watch", "--check", path).err
