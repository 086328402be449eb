"""Wire types of /enroll and /subjects."""

from __future__ import annotations

from typing import Any

from faces.types import Spectrum
from service.api.schemas.base import Wire
from service.api.schemas.faces import FaceOut, QualityOut
from service.enrolment.enroller import Receipt
from service.enrolment.types import Enrolled
from service.store.records import SampleRecord, SubjectRecord


class EnrolledSampleOut(Wire):
    """`existing`: the subject already had a sample of the same image bytes; nothing was added."""

    sample_id: str
    template_id: int
    face: FaceOut
    quality: QualityOut
    existing: bool = False


class RejectedOut(Wire):
    """`index` counts the images of the request from 0."""

    index: int
    code: str
    detail: str


class EnrolOut(Wire):
    subject_id: str
    space_id: str
    samples: list[EnrolledSampleOut]
    rejected: list[RejectedOut]


def enrol_answer(enrolled: Enrolled) -> dict[str, Any]:
    """Returns the JSON of a 201 response, which idempotency stores as well."""
    return EnrolOut(
        subject_id=enrolled.subject_id,
        space_id=enrolled.space_id,
        samples=[
            EnrolledSampleOut(
                sample_id=sample.sample_id,
                template_id=sample.template_id,
                face=FaceOut.of(sample.face),
                quality=QualityOut.of(sample.quality),
                existing=sample.existing,
            )
            for sample in enrolled.samples
        ],
        rejected=[
            RejectedOut(index=error.index or 0, code=error.code, detail=error.detail)
            for error in enrolled.rejected
        ],
    ).model_dump(mode="json")


class SubjectOut(Wire):
    subject_id: str
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    samples: int

    @classmethod
    def of(cls, record: SubjectRecord) -> SubjectOut:
        return cls(
            subject_id=record.subject_id,
            metadata=dict(record.metadata),
            created_at=record.created_at.isoformat(),
            updated_at=record.updated_at.isoformat(),
            samples=record.sample_count,
        )


class SampleOut(Wire):
    sample_id: str
    spectrum: Spectrum
    masked: bool
    quality_score: int
    inter_eye_px: float
    created_at: str

    @classmethod
    def of(cls, record: SampleRecord) -> SampleOut:
        return cls(
            sample_id=record.sample_id,
            spectrum=record.spectrum,
            masked=record.masked,
            quality_score=record.quality_score,
            inter_eye_px=round(record.inter_eye_px, 2),
            created_at=record.created_at.isoformat(),
        )


class SubjectDetailOut(Wire):
    subject_id: str
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    samples: list[SampleOut]


class SubjectsOut(Wire):
    subjects: list[SubjectOut]
    next_cursor: str | None


class PatchIn(Wire):
    """Replaces the metadata of a subject."""

    metadata: dict[str, Any]


class ErasedOut(Wire):
    samples: int
    templates: int
    crops: int


class ReceiptOut(Wire):
    """What was erased; `audit_id` names the audit entry."""

    erased: ErasedOut
    audit_id: int

    @classmethod
    def of(cls, receipt: Receipt) -> ReceiptOut:
        return cls(
            erased=ErasedOut(
                samples=receipt.erased.samples,
                templates=receipt.erased.templates,
                crops=receipt.erased.crops,
            ),
            audit_id=receipt.audit_id,
        )
