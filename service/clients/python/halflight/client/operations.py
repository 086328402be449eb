"""Every operation as its steps: no input, no output."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import httpx

from halflight.client import requests
from halflight.client.archive import Body
from halflight.client.errors import UnexpectedAnswer, refusal
from halflight.client.flow import Emit, Got, Load, Open, Read, Steps, Wait, answered, ask, checked
from halflight.client.photos import Photo
from halflight.client.retry import Attempts, Repeat, Retry
from halflight.client.sse import Message, Parser
from halflight.client.types import (
    Decision,
    Detections,
    Door,
    Doors,
    DoorTest,
    Embeddings,
    Enrolment,
    ErasedMany,
    Identification,
    Job,
    Merged,
    Missed,
    Readiness,
    Receipt,
    Receivers,
    Redelivered,
    ReportRow,
    StreamEnd,
    SubjectDetail,
    SubjectPage,
    Submitted,
    TrackDecision,
    Verification,
    Watchers,
    Whoami,
)

Options: TypeAlias = Mapping[str, Any]
POLL_S = 0.5
KEY_GONE = {
    "status": 401,
    "code": "unauthorized",
    "title": "A valid key is needed",
    "detail": "the key of this stream was revoked or has expired",
}
# A spreadsheet would take a cell that begins so for a formula, so the service puts an apostrophe before it.
FORMULA = ("'=", "'+", "'-", "'@", "'\t", "'\r")


def enrol(
    subject_id: str, photos: Photo | Sequence[Photo], options: Options, key: str | None, retry: Retry
) -> Steps[Enrolment]:
    """Sends photos of one subject."""
    several = photos if isinstance(photos, (list, tuple)) else [cast(Photo, photos)]
    requests.check_count(len(several))
    loaded: list[bytes] = []
    for photo in several:
        loaded += [(yield Load(photo))]
    return (yield from ask(requests.enrol(subject_id, loaded, options, key), Enrolment, retry))


def identify(image: Photo, options: Options, retry: Retry) -> Steps[Identification]:
    data = yield Load(image)
    return (yield from ask(requests.of_probe("/identify", data, options), Identification, retry))


def track(
    name: str, frames: Sequence[Photo], options: Options, key: str | None, retry: Retry
) -> Steps[TrackDecision]:
    """Sends the frames of one person's track."""
    requests.check_frames(len(frames))
    loaded: list[bytes] = []
    for frame in frames:
        loaded += [(yield Load(frame))]
    return (yield from ask(requests.track(name, loaded, options, key), TrackDecision, retry))


def detect(image: Photo, options: Options, retry: Retry) -> Steps[Detections]:
    data = yield Load(image)
    return (yield from ask(requests.of_probe("/detect", data, options), Detections, retry))


def embed(image: Photo, options: Options, retry: Retry) -> Steps[Embeddings]:
    data = yield Load(image)
    return (yield from ask(requests.of_probe("/embed", data, options), Embeddings, retry))


def verify(
    image: Photo, subject_id: str | None, reference: Photo | None, options: Options, retry: Retry
) -> Steps[Verification]:
    data = yield Load(image)
    other = None if reference is None else (yield Load(reference))
    return (yield from ask(requests.verify(data, subject_id, other, options), Verification, retry))


def subject(subject_id: str, retry: Retry) -> Steps[SubjectDetail]:
    return ask(requests.subject(subject_id), SubjectDetail, retry)


def change(subject_id: str, asked: Options, retry: Retry) -> Steps[SubjectDetail]:
    return ask(requests.change(subject_id, asked), SubjectDetail, retry)


def merge(into: str, source: str, retry: Retry) -> Steps[Merged]:
    return ask(requests.merge(into, source), Merged, retry)


def erase(subject_id: str, sample_id: str | None, retry: Retry) -> Steps[Receipt]:
    return ask(requests.erase(subject_id, sample_id), Receipt, retry)


def erase_many(subject_ids: Iterable[str], retry: Retry) -> Steps[ErasedMany]:
    return ask(requests.erase_many(list(subject_ids)), ErasedMany, retry)


def id_of(job: Job | str) -> str:
    return job if isinstance(job, str) else job.job_id


def job(job_id: str, retry: Retry) -> Steps[Job]:
    return ask(requests.job(job_id), Job, retry)


def ready(retry: Retry) -> Steps[Readiness]:
    return ask(requests.ready(), Readiness, retry)


def whoami(retry: Retry) -> Steps[Whoami]:
    return ask(requests.get("/whoami"), Whoami, retry)


def doors(retry: Retry) -> Steps[Doors]:
    return ask(requests.get("/admin/doors"), Doors, retry)


def switch_door(name: str, dry_run: bool, retry: Retry) -> Steps[Door]:
    return ask(requests.switch_door(name, dry_run), Door, retry)


def test_door(name: str, asked: Options, retry: Retry) -> Steps[DoorTest]:
    return ask(requests.test_door(name, asked), DoorTest, retry)


def receivers(retry: Retry) -> Steps[Receivers]:
    return ask(requests.get("/admin/webhooks"), Receivers, retry)


def redeliver(event_ids: Sequence[str] | None, receiver: str | None, retry: Retry) -> Steps[Redelivered]:
    return ask(requests.redeliver(event_ids, receiver), Redelivered, retry)


def report_watcher(name: str, report: Options, retry: Retry) -> Steps[None]:
    yield from answered(requests.report_watcher(name, report), retry)


def watchers(retry: Retry) -> Steps[Watchers]:
    return ask(requests.get("/watchers"), Watchers, retry)


def submit(body: Body, options: Options, retry: Retry) -> Steps[Job]:
    """Sends a bulk enrolment and returns its job as it begins."""
    submitted = yield from ask(requests.bulk(body, options), Submitted, retry)
    return (yield from job(submitted.job_id, retry))


def rows(job_id: str, retry: Retry) -> Steps[tuple[ReportRow, ...]]:
    """The report of a bulk enrolment."""
    response = yield from answered(requests.report(job_id, "csv"), retry)
    found = csv.DictReader(io.StringIO(response.text))
    return tuple(ReportRow.model_validate({k: _cell(v) for k, v in row.items()}) for row in found)


def page(job_id: str, retry: Retry) -> Steps[str]:
    """The report of a bulk enrolment as an HTML page with thumbnails."""
    return (yield from answered(requests.report(job_id, "html"), retry)).text


def subjects(wanted: Mapping[str, Any], retry: Retry) -> Steps[None]:
    """Emits every subject that fits, page by page."""
    cursor = None
    while True:
        found = yield from ask(requests.subjects(wanted, cursor), SubjectPage, retry)
        for one in found.subjects:
            yield Emit(one)
        if (cursor := found.next_cursor) is None:
            return


def follow(job_id: str, retry: Retry) -> Steps[None]:
    """Emits a job whenever it has changed, last as it ended."""
    before = None
    while True:
        now = yield from job(job_id, retry)
        if now != before:
            yield Emit(now)
        if now.ended:
            return
        before = now
        yield Wait(POLL_S)


def events(after: str | None, recent: int, retry: Retry) -> Steps[None]:
    """Emits decisions without an end, and what was missed between; opens the stream again where it breaks."""
    place, pause_s = after or "", retry.first_wait_s
    attempts = Attempts(retry, Repeat.ALWAYS)
    while True:
        opened: Got = yield Open(requests.events(place, recent))
        if not isinstance(opened, httpx.Response) or not opened.is_success:
            wait_s = attempts.wait_s(opened)
            if wait_s is None:
                checked(opened, frozenset())
            yield Wait(wait_s or 0.0)
            continue
        if not opened.headers.get("content-type", "").startswith("text/event-stream"):
            raise UnexpectedAnswer("the address answers with no stream of events", status=opened.status_code)
        attempts = Attempts(retry, Repeat.ALWAYS)
        parser, goes_on = Parser(), True
        while goes_on:
            chunk: bytes | httpx.TransportError | None = yield Read()
            if not isinstance(chunk, bytes):
                break
            for message in parser.feed(chunk):
                place = message.last_id or place
                value = _event(message)
                if isinstance(value, StreamEnd):
                    if value.reason == KEY_GONE["code"]:
                        raise refusal(KEY_GONE)
                    goes_on = False
                elif value is not None:
                    yield Emit(value)
        pause_s = parser.retry_s or pause_s
        yield Wait(pause_s)


def _event(message: Message) -> Decision | Missed | StreamEnd | None:
    """What a message says; None for one that a later service may send."""
    kinds: Mapping[str, type[Decision | Missed | StreamEnd]] = {
        "decision": Decision,
        "missed": Missed,
        "end": StreamEnd,
    }
    if (kind := kinds.get(message.event)) is None:
        return None
    try:
        return kind.model_validate(json.loads(message.data) | {"place": message.last_id})
    except (ValueError, TypeError):
        said = f"an event `{message.event}` of the stream is not as Halflight writes it"
    raise UnexpectedAnswer(said, status=200)


def _cell(text: str | None) -> str | None:
    if text is not None and text.startswith(FORMULA):
        return text[1:]
    return text or None
