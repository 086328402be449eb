"""Stores subjects and their samples."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from faces.types import Spectrum
from service.store.gallery_log import GalleryLog
from service.store.records import Erased, NewSample, SampleRecord, SubjectRecord
from service.store.tables import crops, idempotency, samples, subjects
from service.store.upsert import upsert

_COUNT = select(func.count()).where(samples.c.subject_id == subjects.c.subject_id).scalar_subquery()
_SUBJECT = (
    subjects.c.subject_id,
    subjects.c.metadata,
    subjects.c.created_at,
    subjects.c.updated_at,
    _COUNT,
)


# The first key of PostgreSQL's two-key advisory locks on subjects.
SUBJECT_LOCKS = 0x5B1


async def _lock_subject(connection: AsyncConnection, subject_id: str) -> None:
    """Takes the lock of one subject until the transaction ends; every change of a subject needs it.

    Without it a template could be committed after an erasure has listed the templates, and the cascade
    would delete it without a row in the log. A row lock does not do: the row may not exist yet, and
    PostgreSQL finds deadlocks among transactions that delete, upsert and lock one row. SQLite has one
    writer and needs no lock.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock(SUBJECT_LOCKS, func.hashtext(subject_id))))


def new_sample_id() -> str:
    """Returns a random id (UUID 4), unique across databases."""
    return str(uuid.uuid4())


async def _count_crops(connection: AsyncConnection, subject_id: str, sample_id: str | None = None) -> int:
    query = (
        select(func.count())
        .select_from(crops)
        .join(samples, samples.c.sample_id == crops.c.sample_id)
        .where(samples.c.subject_id == subject_id)
    )
    if sample_id is not None:
        query = query.where(samples.c.sample_id == sample_id)
    return int((await connection.execute(query)).scalar_one())


class Subjects:
    """All SQL about subjects."""

    def __init__(self, connection: AsyncConnection, log: GalleryLog) -> None:
        self._connection, self._log = connection, log

    async def get(self, subject_id: str) -> SubjectRecord | None:
        query = select(*_SUBJECT).where(subjects.c.subject_id == subject_id)
        row = (await self._connection.execute(query)).first()
        return SubjectRecord(*row) if row else None

    async def ensure(self, subject_id: str, metadata: dict[str, Any] | None) -> None:
        """Creates the subject or updates its time stamp; replaces the metadata if given."""
        await _lock_subject(self._connection, subject_id)
        now = datetime.now(UTC)
        values = {
            "subject_id": subject_id,
            "metadata": metadata or {},
            "created_at": now,
            "updated_at": now,
        }
        changed: dict[str, Any] = {"updated_at": now}
        if metadata is not None:
            changed["metadata"] = metadata
        inserted = upsert(self._connection, subjects).values(values)
        await self._connection.execute(
            inserted.on_conflict_do_update(index_elements=["subject_id"], set_=changed)
        )

    async def page(self, after: str | None, limit: int) -> list[SubjectRecord]:
        """Returns up to `limit` subjects in order of their ids, after `after`."""
        query = select(*_SUBJECT).order_by(subjects.c.subject_id).limit(limit)
        if after is not None:
            query = query.where(subjects.c.subject_id > after)
        return [SubjectRecord(*row) for row in await self._connection.execute(query)]

    async def set_metadata(self, subject_id: str, metadata: dict[str, Any]) -> bool:
        """Replaces the metadata; returns false if there is no such subject."""
        await _lock_subject(self._connection, subject_id)
        changed = (
            update(subjects)
            .where(subjects.c.subject_id == subject_id)
            .values(metadata=metadata, updated_at=datetime.now(UTC))
        )
        return (await self._connection.execute(changed)).rowcount == 1

    async def delete(self, subject_id: str) -> Erased | None:
        """Deletes the subject, its samples, templates, crops and stored answers.

        Returns the numbers deleted, or None if there is no such subject.
        """
        await _lock_subject(self._connection, subject_id)
        record = await self.get(subject_id)
        if record is None:
            return None
        templates = await self._log.append_removals(subject_id)
        crop_count = await _count_crops(self._connection, subject_id)
        await self._connection.execute(delete(idempotency).where(idempotency.c.subject_id == subject_id))
        await self._connection.execute(delete(subjects).where(subjects.c.subject_id == subject_id))
        return Erased(samples=record.sample_count, templates=templates, crops=crop_count)

    async def count(self) -> int:
        return int((await self._connection.execute(select(func.count()).select_from(subjects))).scalar_one())


class Samples:
    """All SQL about samples."""

    def __init__(self, connection: AsyncConnection, log: GalleryLog) -> None:
        self._connection, self._log = connection, log

    async def add(self, sample: NewSample, sample_id: str | None = None) -> str:
        """Adds a sample with `sample_id`, or with a new id, and returns the id."""
        sample_id = sample_id or new_sample_id()
        await self._connection.execute(
            insert(samples).values(
                sample_id=sample_id,
                subject_id=sample.subject_id,
                digest=sample.digest,
                spectrum=sample.spectrum.value,
                masked=sample.masked,
                mask_probability=sample.mask_probability,
                quality_score=sample.quality_score,
                inter_eye_px=sample.inter_eye_px,
                source_width=sample.source_width,
                source_height=sample.source_height,
                created_at=datetime.now(UTC),
            )
        )
        return sample_id

    async def of_subject(self, subject_id: str) -> list[SampleRecord]:
        """Returns the samples of a subject, oldest first."""
        query = (
            select(samples)
            .where(samples.c.subject_id == subject_id)
            .order_by(samples.c.created_at, samples.c.sample_id)
        )
        rows = (await self._connection.execute(query)).mappings()
        return [SampleRecord(**{**row, "spectrum": Spectrum(row["spectrum"])}) for row in rows]

    async def with_digest(self, subject_id: str, digest: str) -> str | None:
        """Returns the id of the subject's oldest sample of these image bytes; None if it has none.

        Nobody else adds one before the transaction ends: `Subjects.ensure` holds the subject's lock.
        """
        query = (
            select(samples.c.sample_id)
            .where(samples.c.subject_id == subject_id, samples.c.digest == digest)
            .order_by(samples.c.created_at, samples.c.sample_id)
            .limit(1)
        )
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def existing(self, sample_ids: Sequence[str]) -> set[str]:
        """Returns those of these samples that exist."""
        query = select(samples.c.sample_id).where(samples.c.sample_id.in_(list(sample_ids)))
        return {row[0] for row in await self._connection.execute(query)}

    async def delete(self, subject_id: str, sample_id: str) -> Erased | None:
        """Deletes one sample, its templates and crops.

        Returns the numbers deleted, or None if the subject has no such sample.
        """
        await _lock_subject(self._connection, subject_id)
        templates = await self._log.append_removals(subject_id, sample_id)
        crop_count = await _count_crops(self._connection, subject_id, sample_id)
        erased = delete(samples).where(samples.c.subject_id == subject_id, samples.c.sample_id == sample_id)
        if (await self._connection.execute(erased)).rowcount != 1:
            return None
        return Erased(samples=1, templates=templates, crops=crop_count)
