"""Wire types: what goes over HTTP, and nothing else. Field names are the contract."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from faces.types import Face, Spectrum
from service.enrolment.enroller import Receipt
from service.enrolment.types import Enrolled
from service.inference.engine import Description
from service.inference.quality import Quality
from service.matching.comparison import Candidate, Identified, Verified
from service.store.records import SampleRecord, SubjectRecord

SCORE_DIGITS = 6


class Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FaceOut(Wire):
    """Box [x, y, w, h] and five landmarks in pixels of the upright image."""

    box: tuple[float, float, float, float]
    landmarks: list[tuple[float, float]]
    detection_score: float

    @classmethod
    def of(cls, face: Face) -> FaceOut:
        box = face.box
        return cls(
            box=(round(box.x, 2), round(box.y, 2), round(box.width, 2), round(box.height, 2)),
            landmarks=[(round(x, 2), round(y, 2)) for x, y in face.landmarks],
            detection_score=round(face.score, 4),
        )


class PoseOut(Wire):
    """Rough angles in degrees."""

    yaw: float
    roll: float


class QualityOut(Wire):
    """0 to 100 with what keeps it down; measured where a mask does not reach."""

    score: Annotated[int, Field(ge=0, le=100)]
    reasons: list[str]
    inter_eye_px: float
    sharpness: float
    exposure: float
    pose: PoseOut

    @classmethod
    def of(cls, quality: Quality) -> QualityOut:
        return cls(
            score=quality.score,
            reasons=list(quality.reasons),
            inter_eye_px=round(quality.inter_eye_px, 2),
            sharpness=round(quality.sharpness, 4),
            exposure=round(quality.exposure, 4),
            pose=PoseOut(yaw=round(quality.pose.yaw, 1), roll=round(quality.pose.roll, 1)),
        )


class ConditionOut(Wire):
    """What the probe was seen through."""

    spectrum: Spectrum
    masked: bool
    mask_probability: float


class SightingOut(Wire):
    """A face with its condition and quality."""

    face: FaceOut
    condition: ConditionOut
    quality: QualityOut


def sighting(described: Description) -> dict[str, Any]:
    """The three parts that every answer about a face has."""
    return {
        "face": FaceOut.of(described.face),
        "condition": ConditionOut(
            spectrum=described.crop.spectrum,
            masked=described.mask.masked,
            mask_probability=round(described.mask.probability, 4),
        ),
        "quality": QualityOut.of(described.quality),
    }


class EnrolledSampleOut(Wire):
    sample_id: str
    template_id: int
    face: FaceOut
    quality: QualityOut


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
    """The JSON of a 201, as it is sent and as idempotency keeps it."""
    return EnrolOut(
        subject_id=enrolled.subject_id,
        space_id=enrolled.space_id,
        samples=[
            EnrolledSampleOut(
                sample_id=sample.sample_id,
                template_id=sample.template_id,
                face=FaceOut.of(sample.face),
                quality=QualityOut.of(sample.quality),
            )
            for sample in enrolled.samples
        ],
        rejected=[
            RejectedOut(index=error.index or 0, code=error.code, detail=error.detail)
            for error in enrolled.rejected
        ],
    ).model_dump(mode="json")


class CandidateOut(Wire):
    rank: int
    subject_id: str
    score: float
    decision: Literal["match", "unknown"]
    margin: float
    metadata: dict[str, Any]

    @classmethod
    def of(cls, candidate: Candidate) -> CandidateOut:
        return cls(
            rank=candidate.rank,
            subject_id=candidate.subject_id,
            score=round(candidate.score, SCORE_DIGITS),
            decision="match" if candidate.accepted else "unknown",
            margin=round(candidate.margin, SCORE_DIGITS),
            metadata=dict(candidate.metadata),
        )


class IdentifiedOut(SightingOut):
    decision: Literal["match", "unknown"]
    threshold: float
    target_fmr: float | None
    candidates: list[CandidateOut]

    @classmethod
    def of(cls, found: Identified) -> IdentifiedOut:
        return cls(
            **sighting(found.description),
            decision=found.decision,
            threshold=found.decider.threshold,
            target_fmr=found.decider.target_fmr,
            candidates=[CandidateOut.of(candidate) for candidate in found.candidates],
        )


class IdentifyOut(Wire):
    space_id: str
    results: list[IdentifiedOut]
    timing_ms: dict[str, float]


class ReferenceOut(Wire):
    """The other side of a verification: an image's face, or an enrolled subject."""

    subject_id: str | None = None
    face: FaceOut | None = None
    condition: ConditionOut | None = None
    quality: QualityOut | None = None


class VerifyOut(Wire):
    space_id: str
    score: float
    threshold: float
    target_fmr: float | None
    decision: Literal["match", "non-match"]
    probe: SightingOut
    reference: ReferenceOut
    timing_ms: dict[str, float]

    @classmethod
    def of(
        cls,
        verified: Verified,
        space_id: str,
        subject_id: str | None,
        timing_ms: dict[str, float],
        *,
        score_digits: int | None,
    ) -> VerifyOut:
        other = verified.reference
        return cls(
            space_id=space_id,
            score=round(verified.score, SCORE_DIGITS if score_digits is None else score_digits),
            threshold=verified.decider.threshold,
            target_fmr=verified.decider.target_fmr,
            decision=verified.decision,
            probe=SightingOut(**sighting(verified.probe)),
            reference=ReferenceOut(subject_id=subject_id, **(sighting(other) if other else {})),
            timing_ms=timing_ms,
        )


class EmbeddedOut(SightingOut):
    embedding: list[float]


class EmbedOut(Wire):
    space_id: str
    results: list[EmbeddedOut]


class DetectOut(Wire):
    results: list[FaceOut]
    spectrum: Spectrum
    image: tuple[int, int]


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


class ReadyOut(Wire):
    status: Literal["ready", "degraded", "not_ready"]
    detail: str | None = None
    space_id: str | None = None
    bundle: str | None = None
    provider: str | None = None
    templates: int | None = None
    open_access: bool | None = None
