"""What a bulk enrolment over HTTP asks for, as its job keeps it: it names no subject and no photo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from faces.types import Spectrum, Turn
from service.bulk.types import BulkPhoto
from service.enrolment.types import Duplicates, Enrolment
from service.store.term_records import Consent
from service.subjects.validation import validate_metadata, validate_name, validate_subject_id

BULK = "bulk"


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRequest:
    """`upload`: the name of the uploaded archive. `actor`: the id of the key that asked.

    `spectrum`: of photos for which no list says it. The others are as in an `Enrolment`.
    """

    upload: str
    actor: str
    spectrum: Spectrum
    duplicates: Duplicates
    allow_mismatch: bool
    turn: Turn | None
    consent_date: date | None
    expires_at: datetime | None

    def params(self) -> dict[str, Any]:
        """As JSON, for the job's row."""
        return {
            "upload": self.upload,
            "actor": self.actor,
            "spectrum": self.spectrum.value,
            "duplicates": self.duplicates.value,
            "allow_mismatch": self.allow_mismatch,
            "turn": self.turn,
            "consent_date": self.consent_date and self.consent_date.isoformat(),
            "expires_at": self.expires_at and self.expires_at.isoformat(),
        }

    @classmethod
    def of_job(cls, params: Mapping[str, Any]) -> BulkRequest:
        day, end = params["consent_date"], params["expires_at"]
        return cls(
            upload=str(params["upload"]),
            actor=str(params["actor"]),
            spectrum=Spectrum(params["spectrum"]),
            duplicates=Duplicates(params["duplicates"]),
            allow_mismatch=bool(params["allow_mismatch"]),
            turn=params["turn"],
            consent_date=None if day is None else date.fromisoformat(day),
            expires_at=None if end is None else datetime.fromisoformat(end),
        )

    def enrolment(self, photo: BulkPhoto, data: bytes) -> Enrolment:
        """The enrolment of one photo. Raises InvalidParameter for what a folder or a list says of it."""
        name, metadata = photo.display_name, photo.metadata
        return Enrolment(
            subject_id=validate_subject_id(photo.subject_id),
            images=(data,),
            metadata=None if metadata is None else validate_metadata(metadata),
            spectrum=self.spectrum if photo.spectrum is None else Spectrum(photo.spectrum),
            duplicates=self.duplicates,
            allow_mismatch=self.allow_mismatch,
            actor=self.actor,
            display_name=None if name is None else validate_name(name),
            turn=self.turn,
            consent=None if self.consent_date is None else Consent(self.consent_date, None),
            expires_at=self.expires_at,
        )
