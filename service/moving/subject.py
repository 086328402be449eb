"""One subject in an archive: JSON, and the bytes of its templates and crops after it."""

from __future__ import annotations

import base64
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

from pydantic import AwareDatetime, Field

from faces.align import ALIGNMENTS
from faces.strict import Strict
from faces.types import Spectrum
from service.sealing.keys import SubjectKey
from service.store.gallery_log import from_bytes, to_bytes
from service.store.records import EncodedCrop, NewSample, SampleRecord, SubjectRecord
from service.store.term_records import Consent, Hold, SubjectTerms
from service.store.unit import UnitOfWork

Base64 = Annotated[str, Field(max_length=1 << 28)]


class ArchivedSample(Strict):
    """`templates`: float32 little-endian by space; `crops`: PNG by alignment; both in base64."""

    sample_id: str
    digest: str
    spectrum: Spectrum
    masked: bool
    mask_probability: float
    quality_score: int
    inter_eye_px: float
    source_width: int
    source_height: int
    created_at: AwareDatetime
    templates: dict[str, Base64]
    crops: dict[str, Base64]


class ArchivedHold(Strict):
    since: AwareDatetime
    by: str
    reason: str | None


class ArchivedConsent(Strict):
    on: date
    reference: str | None


class ArchivedTerms(Strict):
    """The terms under which a subject is kept."""

    hold: ArchivedHold | None
    consent: ArchivedConsent | None
    expires_at: AwareDatetime | None
    last_matched_at: AwareDatetime | None

    @classmethod
    def of(cls, terms: SubjectTerms) -> ArchivedTerms:
        return cls.model_validate(asdict(terms))

    def stored(self) -> SubjectTerms:
        """As the store keeps them."""
        return SubjectTerms(
            hold=None if self.hold is None else Hold(**self.hold.model_dump()),
            consent=None if self.consent is None else Consent(**self.consent.model_dump()),
            expires_at=self.expires_at,
            last_matched_at=self.last_matched_at,
        )


class ArchivedSubject(Strict):
    """`key`: the subject's own key, which a restored subject keeps, so that older backups stay readable.

    `terms`: absent in backups of releases that knew none, and where there are none.
    """

    subject_id: str
    display_name: str | None
    metadata: dict[str, Any]
    created_at: AwareDatetime
    updated_at: AwareDatetime
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    audit_secret: str | None
    samples: list[ArchivedSample]
    terms: ArchivedTerms | None = None


async def gather_subject(uow: UnitOfWork, record: SubjectRecord, key: SubjectKey) -> ArchivedSubject:
    """Everything that is kept of a subject. Raises StoreError."""
    subject_id = record.subject_id
    samples = await uow.samples.of_subject(subject_id)
    ids = [sample.sample_id for sample in samples]
    vectors: dict[str, dict[str, str]] = {one: {} for one in ids}
    for space in await uow.spaces.all():
        for owned in await uow.templates.of_subject(space.space_id, subject_id):
            vectors[owned.owner.sample_id][space.space_id] = _text(to_bytes(owned.vector))
    crops: dict[str, dict[str, str]] = {one: {} for one in ids}
    for alignment in sorted(ALIGNMENTS):
        for sample_id, crop in (await uow.crops.of_samples(ids, alignment)).items():
            if crop.png is None:
                uow.refused.add(f"crop of sample {sample_id}")
            else:
                crops[sample_id][alignment] = _text(crop.png)
    secrets, terms = await uow.audit.secrets_of([subject_id]), await uow.terms.get(subject_id)
    return ArchivedSubject(
        subject_id=subject_id,
        display_name=record.display_name,
        metadata=dict(record.metadata),
        created_at=record.created_at,
        updated_at=record.updated_at,
        key=key.raw_pieces()[0].hex(),
        audit_secret=secrets[subject_id].hex() if subject_id in secrets else None,
        samples=[_sample(one, vectors[one.sample_id], crops[one.sample_id]) for one in samples],
        terms=None if terms == SubjectTerms() else ArchivedTerms.of(terms),
    )


async def restore_subject(
    uow: UnitOfWork, subject: ArchivedSubject, key_id: str, sizes: dict[str, int]
) -> None:
    """Adds a subject that is not there, under its own key. `sizes`: dimensions by space.

    Raises StoreError.
    """
    key = SubjectKey(key_id, bytes.fromhex(subject.key))
    await uow.subjects.ensure(subject.subject_id, subject.metadata, subject.display_name, key=key)
    by_space: dict[str, dict[str, Any]] = {}
    for sample in subject.samples:
        await uow.samples.add(
            _new(sample, subject.subject_id), sample.sample_id, created_at=sample.created_at
        )
        pictures = [EncodedCrop(alignment, base64.b64decode(png)) for alignment, png in sample.crops.items()]
        await uow.crops.add(sample.sample_id, pictures, created_at=sample.created_at)
        for space_id, vector in sample.templates.items():
            row = from_bytes(base64.b64decode(vector), sizes[space_id])
            by_space.setdefault(space_id, {})[sample.sample_id] = row
    for space_id in sorted(by_space):
        await uow.templates.add_missing(space_id, by_space[space_id])
    if subject.audit_secret is not None:
        await uow.audit.set_secret(subject.subject_id, bytes.fromhex(subject.audit_secret))
    if subject.terms is not None:
        await uow.terms.put(subject.subject_id, subject.terms.stored())
    await uow.subjects.set_times(
        subject.subject_id, created_at=subject.created_at, updated_at=subject.updated_at
    )


def count(subject: ArchivedSubject) -> tuple[int, int, int]:
    """Numbers of samples, templates and crops."""
    samples = subject.samples
    return len(samples), sum(len(s.templates) for s in samples), sum(len(s.crops) for s in samples)


def _sample(sample: SampleRecord, templates: dict[str, str], crops: dict[str, str]) -> ArchivedSample:
    return ArchivedSample(
        **{name: getattr(sample, name) for name in NewSample.__slots__ if name != "subject_id"},
        sample_id=sample.sample_id,
        created_at=sample.created_at,
        templates=templates,
        crops=crops,
    )


def _new(sample: ArchivedSample, subject_id: str) -> NewSample:
    facts = {name: getattr(sample, name) for name in NewSample.__slots__ if name != "subject_id"}
    return NewSample(subject_id=subject_id, **facts)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
