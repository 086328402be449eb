"""What each operation sends: no input, no output.

Photos go without their file names, which may reveal whose faces they show, and which the service does not
need.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from halflight.client.archive import Body
from halflight.client.options import moment, written
from halflight.client.retry import Repeat

PAGE = 500
MAX_PHOTOS = 16
Parts = tuple[tuple[str, tuple[str, bytes]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, below `/v1`. `also`: statuses beside those of success whose body is an answer."""

    method: str
    path: str
    repeat: Repeat = Repeat.ALWAYS
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    also: frozenset[int] = frozenset()
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Parts = field(default=(), repr=False)
    json: Any = field(default=None, repr=False)
    body: Body | None = field(default=None, repr=False)

    def content(self) -> dict[str, Any]:
        """Returns what httpx takes as the body, if it is no stream."""
        if self.files:
            return {"data": dict(self.fields), "files": list(self.files)}
        return {} if self.json is None else {"json": self.json}


def enrol(
    subject_id: str, photos: Sequence[bytes], options: Mapping[str, Any], idempotency_key: str | None
) -> Request:
    """Safe to repeat, since it has an idempotency key: one of its own if the caller gives none."""
    options = dict(options)
    metadata = options.pop("metadata", None)
    if metadata is not None:
        options["metadata"] = json.dumps(metadata)
    return Request(
        method="POST",
        path="/enroll",
        fields={"subject_id": subject_id} | written(options),
        files=tuple(("images", (f"image{number}", data)) for number, data in enumerate(photos)),
        headers={"Idempotency-Key": uuid.uuid4().hex if idempotency_key is None else idempotency_key},
    )


def check_count(photos: int) -> None:
    """Raises ValueError if one enrolment does not take so many photos."""
    if not photos:
        raise ValueError("give at least one photo")
    if photos > MAX_PHOTOS:
        raise ValueError(f"one enrolment takes {MAX_PHOTOS} photos: make several, or use enrol_many")


def check_frames(frames: int) -> None:
    """Raises ValueError if one track does not take so many frames."""
    if not 1 <= frames <= MAX_PHOTOS:
        raise ValueError(f"a track has 1 to {MAX_PHOTOS} frames: send the best of them")


def of_probe(path: str, image: bytes, options: Mapping[str, Any]) -> Request:
    """/identify, /detect and /embed change nothing."""
    return Request(method="POST", path=path, params=written(options), files=(("image", ("image", image)),))


def track(name: str, images: Sequence[bytes], options: Mapping[str, Any], key: str | None) -> Request:
    """Safe to repeat, since it has an idempotency key: one of its own if the caller gives none."""
    return Request(
        method="POST",
        path="/tracks",
        params=written({"track": name, **options}),
        files=tuple(("images", (f"image{number}", data)) for number, data in enumerate(images)),
        headers={"Idempotency-Key": uuid.uuid4().hex if key is None else key},
    )


def verify(
    image: bytes, subject_id: str | None, reference: bytes | None, options: Mapping[str, Any]
) -> Request:
    if (subject_id is None) == (reference is None):
        raise ValueError("give `subject_id` or `reference`, one of them")
    files: Parts = (("image", ("image", image)),)
    if reference is not None:
        files += (("reference", ("reference", reference)),)
    fields = {} if subject_id is None else {"subject_id": subject_id}
    return Request(method="POST", path="/verify", params=written(options), fields=fields, files=files)


def subjects(wanted: Mapping[str, Any], cursor: str | None) -> Request:
    return get("/subjects", limit=PAGE, **wanted, cursor=cursor)


def get(path: str, **params: Any) -> Request:
    return Request(method="GET", path=path, params=written(params))


def change(subject_id: str, asked: Mapping[str, Any]) -> Request:
    body = dict(asked)
    if body.get("expires_at") is not None:
        body["expires_at"] = moment("expires_at", body["expires_at"])
    if body.get("consent") is not None:
        body["consent"] = written(body["consent"])
    return Request(method="PATCH", path=_path("subjects", subject_id), json=body, repeat=Repeat.UNLESS_DONE)


def subject(subject_id: str) -> Request:
    return get(_path("subjects", subject_id))


def erase(subject_id: str, sample_id: str | None = None) -> Request:
    """Not repeated if the connection broke: who erased twice would hear that there is no such subject."""
    path = _path("subjects", subject_id)
    if sample_id is not None:
        path += _path("samples", sample_id)
    return Request(method="DELETE", path=path, repeat=Repeat.UNLESS_DONE)


def erase_many(subject_ids: Sequence[str]) -> Request:
    return Request(method="POST", path="/subjects/delete", json={"subject_ids": list(subject_ids)})


def merge(into: str, source: str) -> Request:
    path = _path("subjects", into) + "/merge"
    return Request(method="POST", path=path, json={"subject_id": source})


def bulk(body: Body, options: Mapping[str, Any]) -> Request:
    """Every upload is a job of its own, and the stream of photos may not come again: never repeated."""
    headers = {"Content-Type": "application/octet-stream"}
    if body.size is not None:
        headers["Content-Length"] = str(body.size)
    return Request(
        method="POST",
        path="/enroll/bulk",
        params=written(options),
        headers=headers,
        body=body,
        repeat=Repeat.NEVER,
    )


def job(job_id: str) -> Request:
    return get(_path("enroll/bulk", job_id))


def report(job_id: str, file_format: str) -> Request:
    return get(_path("enroll/bulk", job_id) + "/report", format=file_format)


def events(after: str | None, recent: int) -> Request:
    headers = {"Accept": "text/event-stream"}
    if after:
        return Request(method="GET", path="/events", headers=headers | {"Last-Event-ID": after})
    return Request(method="GET", path="/events", headers=headers, params={"recent": str(recent)})


def switch_door(name: str, dry_run: bool) -> Request:
    return Request(method="PUT", path=_path("admin/doors", name) + "/mode", json={"dry_run": dry_run})


def test_door(name: str, asked: Mapping[str, Any]) -> Request:
    body = dict(asked)
    if body.get("at") is not None:
        body["at"] = moment("at", body["at"])
    return Request(method="POST", path=_path("admin/doors", name) + "/test", json=body)


def redeliver(event_ids: Sequence[str] | None, receiver: str | None) -> Request:
    body = {"event_ids": None if event_ids is None else list(event_ids), "receiver": receiver}
    return Request(method="POST", path="/admin/webhooks/replay", json=body)


def report_watcher(name: str, report: Mapping[str, Any]) -> Request:
    return Request(method="PUT", path=_path("watchers", name), json=dict(report))


def ready() -> Request:
    """That it is not ready yet is an answer, which is asked for once."""
    return Request(method="GET", path="/health/ready", repeat=Repeat.NEVER, also=frozenset({503}))


def _path(room: str, name: str) -> str:
    return f"/{room}/{quote(name, safe='')}"
