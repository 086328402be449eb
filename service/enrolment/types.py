"""An enrolment: what a client asks for, what is accepted, what is stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from secrets import token_bytes
from typing import Any, Self

from faces.frames import ImageSource
from faces.frames import digest as image_digest
from faces.types import AlignedCrop, Face, Spectrum, Turn
from service.errors import ServiceError
from service.inference.engine import Description, FacesFound
from service.inference.quality import Quality
from service.sealing.keys import SubjectKey
from service.store.audit import SECRET_BYTES, pseudonym
from service.store.term_records import Consent


class SubjectErased(Exception):
    """The key under which the subject was enrolled before has been shredded."""


class Duplicates(StrEnum):
    """What happens to a face that another subject has: 409, an answer that names them, or nothing."""

    REFUSE = "refuse"
    REPORT = "report"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class SubjectSecrets:
    """What a new subject gets that goes with it: its key, and what its name in the audit log is made of."""

    key: SubjectKey = field(repr=False)
    audit_secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        return cls(SubjectKey.new(), token_bytes(SECRET_BYTES))

    @property
    def audit_name(self) -> str:
        return pseudonym(self.audit_secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What a client asks for. `actor`: the id of its key, for the audit log. `spectrum`: None to recognise
    it. `min_score`: the lowest detection score; None for the setting's. `turn`: how far the photos must be
    turned clockwise. `secrets`: those of its subject, if this enrolment makes it; None for some of the
    transaction's. `earlier_key_id`: the id of the key under which its subject was enrolled before, without
    which the enrolment raises SubjectErased."""

    subject_id: str
    images: tuple[ImageSource, ...]
    metadata: dict[str, Any] | None
    spectrum: Spectrum | None
    duplicates: Duplicates
    allow_mismatch: bool = False
    actor: str
    idempotency_key: str | None = None
    display_name: str | None = None
    min_score: float | None = None
    turn: Turn | None = None
    consent: Consent | None = None
    expires_at: datetime | None = None
    secrets: SubjectSecrets | None = None
    earlier_key_id: str | None = None

    def digest(self) -> str:
        """SHA-256 of the request: two requests with one idempotency key must agree in it."""
        parts = [image_digest(image) for image in self.images]
        ignored = self.duplicates is Duplicates.IGNORE
        spectrum = None if self.spectrum is None else self.spectrum.value
        content: list[Any] = [self.subject_id, parts, self.metadata, spectrum, ignored]
        # Only what is given, so that answers of the last version still fit their requests.
        given = {
            "display_name": self.display_name,
            "duplicates": self.duplicates.value if self.duplicates is Duplicates.REPORT else None,
            "min_score": self.min_score,
            "allow_mismatch": self.allow_mismatch or None,
            "turn": self.turn,
            "consent": self.consent and [self.consent.on.isoformat(), self.consent.reference],
            "expires_at": self.expires_at and self.expires_at.isoformat(),
        }
        content += [[name, value] for name, value in given.items() if value is not None]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """An image that becomes a sample.

    `digest`: SHA-256 of its bytes. `size`: width and height in pixels. `crops`: its face on every
    template of `faces.align`. `index`: its place in the request.
    """

    sample_id: str
    digest: str
    size: tuple[int, int]
    description: Description
    crops: tuple[AlignedCrop, ...]
    index: int = 0


@dataclass(frozen=True, slots=True)
class EnrolledSample:
    """A stored sample and its template in the space that answers the request.

    `existing`: the subject already had a sample of the same image bytes, and this is it.
    """

    sample_id: str
    template_id: int
    face: Face
    quality: Quality
    among: FacesFound
    existing: bool = False


@dataclass(frozen=True, slots=True)
class FoundDuplicate:
    """An image of the request, and the template of another subject that it matches best."""

    index: int
    template_id: int
    score: float


@dataclass(frozen=True, slots=True)
class EnrolmentWarning:
    """What a client should know of a sample that was stored all the same."""

    sample_id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The stored samples, the refusals, each with the index of its image, and warnings of samples."""

    subject_id: str
    space_id: str
    samples: tuple[EnrolledSample, ...]
    rejected: tuple[ServiceError, ...]
    warnings: tuple[EnrolmentWarning, ...] = ()
