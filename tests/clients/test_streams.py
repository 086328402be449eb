"""Bulk enrolments and the stream of decisions, over restarts of the service."""

from __future__ import annotations

import threading
import time
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflight.client import BulkPhoto, Decision, InvalidInput, Missed, NotFound, Retry, Unauthorized
from halflight.client.sse import Message, Parser
from tests.clients.conftest import ASYNCIO, BLOCKING, BUILTIN, Connect, Keyed
from tests.conftest import SAMPLES, StartService, sample_bytes

PATIENT = Retry(patience_s=600)
SUBJECTS = [f"s{number:02}" for number in range(1, 15)]


def test_photos_are_packed_as_they_are_sent_and_reported_by_their_number(
    connect: Connect, keyed: Keyed
) -> None:
    client = connect(keyed.url, key=keyed.operator).client
    taken: list[int] = []

    def photos() -> Any:
        yield BulkPhoto(subject_id="ada", photo=SAMPLES / "s05" / "vis_1.jpg", display_name="Ada, née L.")
        yield BulkPhoto(subject_id="bea", photo=sample_bytes("s06"), metadata={"floor": 3})
        yield BulkPhoto(subject_id="bad", photo=b"\xff\xd8\xff\xe0 cut short")
        yield BulkPhoto(subject_id="=ada", photo=sample_bytes("s07"))
        taken.append(1)

    job = client.enrol_many(photos(), duplicates="refuse")
    assert taken == [1]
    seen = list(client.follow(job))
    assert [one.progress for one in seen] == sorted(one.progress for one in seen)
    assert seen[-1].succeeded
    assert seen[-1].progress == 1
    assert (seen[-1].metrics["enrolled"], seen[-1].metrics["refused"]) == (2, 2)
    rows = {row.file: row for row in client.report(job)}
    assert {name: (row.subject, row.result, row.code) for name, row in rows.items()} == {
        "photos/0": ("ada", "enrolled", None),
        "photos/1": ("bea", "enrolled", None),
        "photos/2": ("bad", "refused", "undecodable_image"),
        "photos/3": ("=ada", "refused", "invalid_parameter"),
    }
    assert "photos/2" in client.report_page(job)
    assert client.subject("ada").display_name == "Ada, née L."
    assert client.subject("bea").metadata == {"floor": 3}
    # The same photos again: none is enrolled twice.
    again = list(client.follow(client.enrol_many(photos())))[-1]
    assert (again.metrics["enrolled"], again.metrics["existing"]) == (2, 2)
    client.erase_many(["ada", "bea"])


def test_an_archive_from_a_path_or_a_file(connect: Connect, keyed: Keyed, tmp_path: Path) -> None:
    client = connect(keyed.url, key=keyed.operator).client
    place = tmp_path / "photos.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("cleo/1.jpg", sample_bytes("s11"))
    ended = list(client.follow(client.enrol_archive(place, duplicates="ignore")))[-1]
    assert ended.succeeded
    with place.open("rb") as file:
        job = client.enrol_archive(file, duplicates="ignore")
    list(client.follow(job.job_id))
    assert client.job(job).ended
    assert {row.result for row in client.report(job)} <= {"existing", "enrolled"}
    client.erase("cleo")
    with pytest.raises(InvalidInput) as refused:
        client.enrol_many([])
    assert refused.value.code == "invalid_archive"
    with pytest.raises(NotFound):
        client.report("none")
    with pytest.raises(FileNotFoundError):
        client.enrol_many([BulkPhoto(subject_id="anna", photo=tmp_path / "none.jpg")])


@pytest.mark.slow
@BLOCKING
def test_a_bulk_enrolment_is_followed_over_a_kill_of_the_service(
    connect: Connect, start_service: StartService, tmp_path: Path
) -> None:
    service = start_service(data=tmp_path / "killed", **BUILTIN)
    client = connect(service.url, retry=PATIENT).client
    photos = [
        BulkPhoto(subject_id=subject, photo=SAMPLES / subject / f"vis_{number}.jpg")
        for subject in SUBJECTS
        for number in (1, 2)
    ]
    job = client.enrol_many(photos, duplicates="ignore")
    states, restart = [], threading.Timer(1, service.start, kwargs={"wait": False})
    for now in client.follow(job):
        states.append(now)
        if len(states) == 2:
            assert not now.ended
            service.kill()
            # It comes back while the client already asks again.
            restart.start()
    restart.join()
    assert states[-1].succeeded
    assert len(states) > 2
    assert {one.subject_id for one in client.subjects()} == set(SUBJECTS)
    assert len(client.report(job)) == len(photos)
    assert client.erase_many(SUBJECTS).receipts[0].erased.samples == 2


def test_decisions_are_followed_and_taken_up_again(connect: Connect, keyed: Keyed) -> None:
    watcher, prober = connect(keyed.url, key=keyed.operator), connect(keyed.url, key=keyed.probe)
    prober.client.identify(sample_bytes("s12"), camera="gate-1")
    prober.client.identify(sample_bytes("s12"), camera="gate-2")
    stream = watcher.client.events(recent=2)
    first, second = next(stream), next(stream)
    assert isinstance(first, Decision)
    assert (first.camera, second.camera, first.action) == ("gate-1", "gate-2", "identify")
    assert not first.matched
    stream.close()
    # From a place that was seen, nothing comes twice and nothing is left out.
    prober.client.identify(sample_bytes("s12"), camera="gate-3")
    later = watcher.client.events(after=first.place)
    assert [next(later).camera, next(later).camera] == ["gate-2", "gate-3"]
    later.close()
    with pytest.raises(InvalidInput):
        next(watcher.client.events(after="no place"))
    with pytest.raises(Unauthorized):
        next(connect(keyed.url).client.events())


@pytest.mark.slow
@ASYNCIO
def test_the_stream_outlives_a_kill_of_the_service(
    connect: Connect, start_service: StartService, tmp_path: Path
) -> None:
    service = start_service(data=tmp_path / "watched", **BUILTIN)
    watcher, prober = connect(service.url, retry=PATIENT), connect(service.url, retry=PATIENT)
    prober.client.identify(sample_bytes("s12"), camera="before")
    stream = watcher.client.events(recent=1)
    assert next(stream).camera == "before"
    service.kill()
    service.start()
    prober.client.identify(sample_bytes("s12"), camera="after")
    missed, decision = next(stream), next(stream)
    # Another run of the service cannot know what this reader did not get, and says so.
    assert isinstance(missed, Missed)
    assert missed.count is None
    assert decision.camera == "after"
    stream.close()


def test_a_revoked_key_ends_the_stream(connect: Connect, keyed: Keyed) -> None:
    with keyed.service.client(keyed.admin) as web:
        made = web.post("/admin/keys", json={"role": "operator"}).json()
    stream = connect(keyed.url, key=made["token"]).client.events()

    def revoke() -> None:
        time.sleep(1)
        with keyed.service.client(keyed.admin) as web:
            web.delete(f"/admin/keys/{made['key_id']}").raise_for_status()

    revoking = threading.Thread(target=revoke)
    revoking.start()
    with pytest.raises(Unauthorized) as ended:
        next(stream)
    revoking.join()
    assert "revoked" in ended.value.detail


STREAM = (
    b'\xef\xbb\xbf: a comment\r\nretry: 1500\nid: a-1\nevent: decision\ndata: {\rdata:"x": 1}\n\n'
    b"data\n\nevent: left\n\nid: \x00\nid\ndata: \xc3\xa4\r\n\r\nid: a-2\nretry: soon\ndata: cut"
)
READ = [Message("decision", '{\n"x": 1}', "a-1"), Message("message", "", "a-1"), Message("message", "ä", "")]


@settings(deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_read_however_their_bytes_arrive(cuts: list[int]) -> None:
    parser, places = Parser(), [0, *sorted(cuts), len(STREAM)]
    read = [message for start, end in pairwise(places) for message in parser.feed(STREAM[start:end])]
    assert read == READ
    assert parser.retry_s == 1.5
