"""The types of a bulk enrolment: a photo of a source, what became of it, and what it conflicts with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# As much as the service takes of one body by default; larger files are no photos of faces.
MAX_PHOTO_BYTES = 64 << 20


class SourceError(ValueError):
    """The source as a whole cannot be used. The text says why and what to do; clients may see it."""


class PhotoTooLarge(Exception):
    """A file has more than `MAX_PHOTO_BYTES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPhoto:
    """One photo of one subject. `name`: its path below the root of the source.

    `read`: the bytes of the file; only valid until the next entry of the source is asked for. It raises
    OSError, PhotoTooLarge. `spectrum`, `display_name`, `metadata`: what a list says of it, if anything.
    """

    name: str
    subject_id: str
    read: Callable[[], bytes]
    spectrum: str | None = None
    display_name: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A file that was not enrolled. `code` comes from the service, or from the source if it was not sent."""

    name: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class SourceCount:
    """Number of photos and rejections that a source yields, and of entries skipped by their names."""

    entries: int
    photos: int
    skipped: int


class ConflictKind(StrEnum):
    """One face under two subjects, or two faces under one subject."""

    TWO_SUBJECTS = "one_face_under_two_subjects"
    TWO_FACES = "two_faces_under_one_subject"


# What a refusal says about a conflict.
CONFLICT_CODES = {
    "duplicate_face": ConflictKind.TWO_SUBJECTS,
    "subject_mismatch": ConflictKind.TWO_FACES,
    "photos_disagree": ConflictKind.TWO_FACES,
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """What a photo conflicts with. `other`: the subject that has its face, where that is known.

    `score`: of the comparison with it, where that is known.
    """

    kind: ConflictKind
    other: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one entry. `code`: why it was refused, None if it is enrolled.

    `digest`: SHA-256 of the file, None if it was not read. `existing`: the subject had this photo already.
    `picture`: a JPEG of it for the report, of refused photos and conflicts. `answer`: of the service, if it
    was asked just now. `kept`: known from an interrupted run.
    """

    name: str
    subject_id: str | None = None
    digest: str | None = None
    code: str | None = None
    detail: str = ""
    existing: bool = False
    conflicts: tuple[Conflict, ...] = ()
    picture: bytes | None = None
    answer: dict[str, Any] | None = field(default=None, compare=False)
    kept: bool = False

    @classmethod
    def of_rejection(cls, one: Rejection, *, subject_id: str | None = None) -> Outcome:
        return cls(name=one.name, subject_id=subject_id, code=one.code, detail=one.detail)
