"""The options of requests; what is absent, the service chooses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal, TypedDict

Turn = Literal["auto", 0, 90, 180, 270]


class SeenOptions(TypedDict, total=False):
    """How a probe is seen. `turn`: degrees by which it must be turned clockwise."""

    spectrum: Literal["auto", "nir", "vis"]
    turn: Turn
    min_detection_score: float


class VerifyOptions(SeenOptions, total=False):
    """By which threshold: `fmr` is a calibrated point such as 1e-4, or `threshold` a score; not both.

    `camera` names the camera of the probe: its own thresholds decide, if it has any.
    """

    fmr: float
    threshold: float
    camera: str


class IdentifyOptions(VerifyOptions, total=False):
    """`fpir`: how rarely a stranger may match anybody of the gallery. `faces`: which faces of the probe.

    `top_k`: how many candidates, 1 to 100.
    """

    fpir: float
    faces: Literal["largest", "all"]
    top_k: int


class TrackOptions(SeenOptions, total=False):
    """How a track is decided. `agree`: how many frames have to; `seen_at`: when the camera saw the person.

    `quiet_s`: the same subject before the same `camera` within so many seconds is a repetition, of which no
    event is made. `final`: false if more frames will come; then only a match is an event.
    """

    fmr: float
    threshold: float
    fpir: float
    camera: str
    agree: int
    seen_at: datetime
    quiet_s: float
    final: bool


class DoorOptions(TypedDict, total=False):
    """Who stands before a door, as a decision would say: `agree` of `of` frames, at this `fmr`.

    `at`: when; by default now, by the clock of the service.
    """

    at: datetime
    mask: Literal["worn", "not worn", "uncertain"]
    spectrum: Literal["nir", "vis"]
    quality: int
    fmr: float
    agree: int
    of: int


class EmbedOptions(SeenOptions, total=False):
    faces: Literal["largest", "all"]
    role: Literal["probe", "reference"]


class SharedOptions(TypedDict, total=False):
    """What an enrolment of one subject and one of many have in common.

    `duplicates`: a face that another subject has is refused, enrolled and reported, or not looked for.
    `allow_mismatch`: also enrol a face that is not that of the subject's other photos.
    """

    spectrum: Literal["vis", "nir"]
    turn: Turn
    duplicates: Literal["refuse", "report", "ignore"]
    allow_mismatch: bool
    consent_date: date
    expires_at: datetime


class EnrolOptions(SharedOptions, total=False):
    display_name: str
    metadata: Mapping[str, Any]
    min_detection_score: float
    consent_reference: str


class SubjectFilter(TypedDict, total=False):
    """Which subjects: those that fit everything given. `name`: part of a display name."""

    name: str
    id_prefix: str
    metadata_key: str
    metadata_value: str
    enrolled_since: datetime
    spectrum: Literal["vis", "nir"]
    masked: bool


class _Day(TypedDict):
    date: date


class Consent(_Day, total=False):
    """On which day the subject consented; `reference`: where that is written down."""

    reference: str


class Change(TypedDict, total=False):
    """What changes of a subject; `metadata` replaces the old.

    None removes `display_name`, `consent` or `expires_at`.
    """

    subject_id: str
    display_name: str | None
    metadata: Mapping[str, Any]
    consent: Consent | None
    expires_at: datetime | None


def written(options: Mapping[str, Any]) -> dict[str, str]:
    """Returns options as the service reads them in a query or a form. Raises ValueError for a naive time."""
    return {name: _text(name, value) for name, value in options.items() if value is not None}


def moment(name: str, value: datetime) -> str:
    """Returns a time as ISO 8601 writes it. Raises ValueError if it has no zone."""
    if value.tzinfo is None:
        raise ValueError(f"`{name}` needs a zone, such as datetime(..., tzinfo=UTC)")
    return value.isoformat()


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return moment(name, value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
