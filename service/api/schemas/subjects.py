"""Wire types of /enroll and /subjects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from faces.types import Spectrum
from service.api.schemas.base import Wire
from service.api.schemas.faces import FaceOut, QualityOut
from service.api.schemas.terms import ConsentIn, ConsentOut, Expiry, HoldOut
from service.enrolment.enroller import Receipt
from service.enrolment.types import Enrolled
from service.store.records import SampleRecord, SubjectRecord
from service.store.term_records import SubjectTerms
from service.subjects.editor import SubjectReceipt
from service.subjects.names import MAX_LETTERS

# So many ids of 128 letters fit into a JSON body.
MAX_ERASED = 400
# The routes check these, and say more about a wrong one than a pattern can.
ONCE_EACH: dict[str, Any] = {"uniqueItems": True}
DocumentedId = Annotated[str, Field(json_schema_extra={"pattern": "^[A-Za-z0-9._:@-]{1,128}$"})]
# Absent is None, and who sends null is refused.
NotNull = SkipJsonSchema[None]


class EnrolledSampleOut(Wire):
    """`existing`: the subject already had a sample of the same image bytes; nothing was added.

    `faces_found`, `faces_below_score`: as in `IdentifyOut`.
    """

    sample_id: str
    template_id: int
    face: FaceOut
    quality: QualityOut
    faces_found: int
    faces_below_score: int
    existing: bool = False


class RejectedOut(Wire):
    """`index` counts the images of the request from 0."""

    index: int
    code: str
    detail: str


class DuplicateOut(Wire):
    """Another subject that the image `index` matches, with `duplicates=report`."""

    index: int
    subject_id: str
    score: float


class WarningOut(Wire):
    """What to know of a sample that was stored all the same; `code` is for programs."""

    sample_id: str
    code: str
    detail: str


class EnrolOut(Wire):
    subject_id: str
    space_id: str
    samples: list[EnrolledSampleOut]
    rejected: list[RejectedOut]
    duplicates: list[DuplicateOut] = []
    warnings: list[WarningOut] = []


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
                faces_found=sample.among.found,
                faces_below_score=sample.among.below,
                existing=sample.existing,
            )
            for sample in enrolled.samples
        ],
        rejected=[
            RejectedOut(index=error.index or 0, code=error.code, detail=error.detail)
            for error in enrolled.rejected
        ],
        warnings=[
            WarningOut(sample_id=one.sample_id, code=one.code, detail=one.detail) for one in enrolled.warnings
        ],
    ).model_dump(mode="json")


class SubjectOut(Wire):
    subject_id: str
    display_name: str | None
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    samples: int

    @classmethod
    def of(cls, record: SubjectRecord) -> SubjectOut:
        return cls(
            subject_id=record.subject_id,
            display_name=record.display_name,
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
    """`hold`: while it is not null, nothing of the subject is erased. `expires_at`: when retention erases it.

    `last_matched_at`: when a probe was last accepted as this subject, up to an hour behind; null if
    that never happened, or before it was noted.
    """

    subject_id: str
    display_name: str | None
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    samples: list[SampleOut]
    hold: HoldOut | None
    consent: ConsentOut | None
    expires_at: str | None
    last_matched_at: str | None

    @classmethod
    def of(
        cls, record: SubjectRecord, samples: Sequence[SampleRecord], terms: SubjectTerms
    ) -> SubjectDetailOut:
        return cls(
            **SubjectOut.of(record).model_dump(exclude={"samples"}),
            samples=[SampleOut.of(sample) for sample in samples],
            hold=None if terms.hold is None else HoldOut.of(terms.hold),
            consent=None if terms.consent is None else ConsentOut.of(terms.consent),
            expires_at=_iso(terms.expires_at),
            last_matched_at=_iso(terms.last_matched_at),
        )


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


class SubjectsOut(Wire):
    subjects: list[SubjectOut]
    next_cursor: str | None


DisplayName = Annotated[
    str,
    Field(
        max_length=4 * MAX_LETTERS,
        description=f"1 to {MAX_LETTERS} letters of any script, kept in NFC",
        json_schema_extra={"minLength": 1},
    ),
]


class PatchIn(Wire):
    """What changes; what is absent stays. `metadata` replaces the old.

    null removes `display_name`, `consent` or `expires_at`.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    subject_id: DocumentedId | NotNull = Field(None, description="the new id, of nobody else")
    display_name: DisplayName | None = None
    metadata: dict[str, Any] | NotNull = None
    consent: ConsentIn | None = None
    expires_at: Expiry | None = Field(None, description="when retention erases the subject")

    @model_validator(mode="after")
    def _says_something(self) -> PatchIn:
        if not self.model_fields_set:
            names = ", ".join(f"`{name}`" for name in PatchIn.model_fields)
            raise ValueError(f"give at least one of {names}")
        for name in ("subject_id", "metadata"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"`{name}` may not be null")
        return self


class MergeIn(Wire):
    """`subject_id`: whose samples move; this subject is gone afterwards."""

    subject_id: DocumentedId


class MergedOut(Wire):
    """`already_there`: samples of photos that both had, which stay one. `samples`: how many it has now."""

    subject_id: str
    merged: str
    moved: int
    already_there: int
    samples: int


class EraseManyIn(Wire):
    subject_ids: Annotated[
        list[DocumentedId], Field(min_length=1, max_length=MAX_ERASED, json_schema_extra=ONCE_EACH)
    ]


class ErasedOut(Wire):
    samples: int
    templates: int
    crops: int


class ReceiptOut(Wire):
    """What was erased; `audit_id` names the audit entry.

    `shredded`: the key that everything of the subject was sealed under, and that is gone with it: what
    is left of the sealed bytes in journals and backups opens for nobody who lacks that row.
    """

    erased: ErasedOut
    shredded: list[str]
    audit_id: int

    @classmethod
    def of(cls, receipt: Receipt) -> ReceiptOut:
        return cls(
            erased=ErasedOut(
                samples=receipt.erased.samples,
                templates=receipt.erased.templates,
                crops=receipt.erased.crops,
            ),
            shredded=[] if receipt.erased.key_id is None else [f"subject key {receipt.erased.key_id}"],
            audit_id=receipt.audit_id,
        )


class SubjectReceiptOut(ReceiptOut):
    subject_id: str


class ErasedManyOut(Wire):
    """A receipt for each subject that was enrolled; the ids of those who were not."""

    receipts: list[SubjectReceiptOut]
    not_found: list[str]

    @classmethod
    def of(cls, receipts: Sequence[SubjectReceipt], asked: Sequence[str]) -> ErasedManyOut:
        erased = {one.subject_id for one in receipts}
        return cls(
            receipts=[
                SubjectReceiptOut(subject_id=one.subject_id, **ReceiptOut.of(one.receipt).model_dump())
                for one in receipts
            ],
            not_found=[subject_id for subject_id in asked if subject_id not in erased],
        )
