"""Stores the crops of samples, sealed under the keys of their subjects."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy import delete, exists, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from faces.types import Spectrum
from service.sealing.keys import SealBroken
from service.store.records import EncodedCrop, StoredCrop
from service.store.resealing import CROP, UNDER_SUBJECT
from service.store.subject_keys import SubjectKeys
from service.store.tables import crops, samples, subject_terms, templates


class Crops:
    """All SQL about crops. The database deletes them with their sample (cascade)."""

    def __init__(self, connection: AsyncConnection, keys: SubjectKeys) -> None:
        self._connection, self._keys = connection, keys

    async def add(
        self, sample_id: str, encoded: Sequence[EncodedCrop], *, created_at: datetime | None = None
    ) -> None:
        """Seals and stores the crops of a sample, one for each alignment. Raises StoreError."""
        if not encoded:
            return
        key, now = await self._keys.of_sample(sample_id), created_at or datetime.now(UTC)
        rows = [
            {
                "sample_id": sample_id,
                "alignment": one.alignment,
                "key_id": UNDER_SUBJECT,
                "sealed": key.seal(one.png, CROP, sample_id, one.alignment),
                "created_at": now,
            }
            for one in encoded
        ]
        await self._connection.execute(insert(crops), rows)

    async def of_samples(self, sample_ids: Sequence[str], alignment: str) -> dict[str, StoredCrop]:
        """Maps each sample that has a crop in this alignment to the opened crop."""
        query = (
            select(
                crops.c.sample_id,
                crops.c.key_id,
                crops.c.sealed,
                samples.c.subject_id,
                samples.c.spectrum,
                samples.c.inter_eye_px,
            )
            .join(samples, samples.c.sample_id == crops.c.sample_id)
            .where(crops.c.sample_id.in_(list(sample_ids)), crops.c.alignment == alignment)
        )
        rows = (await self._connection.execute(query)).all()
        keys = await self._keys.of_subjects(sorted({row.subject_id for row in rows}))
        found = {}
        for sample_id, key_id, sealed, token, spectrum, inter_eye_px in rows:
            png = None
            if key_id == UNDER_SUBJECT and (key := keys.get(token)) is not None:
                with suppress(SealBroken):
                    png = key.open(sealed, CROP, sample_id, alignment)
            found[sample_id] = StoredCrop(alignment, sample_id, Spectrum(spectrum), inter_eye_px, png)
        return found

    async def count_unembeddable(self, space_id: str, alignment: str) -> int:
        """Counts samples with neither a template in the space nor a crop to embed."""
        has_template = exists().where(
            templates.c.sample_id == samples.c.sample_id, templates.c.space_id == space_id
        )
        has_crop = exists().where(crops.c.sample_id == samples.c.sample_id, crops.c.alignment == alignment)
        query = select(func.count()).select_from(samples).where(~has_template, ~has_crop)
        return int((await self._connection.execute(query)).scalar_one())

    async def count_under_other_keys(self) -> int:
        """Counts the crops of older releases that were sealed under a crop key nobody has given."""
        query = select(func.count()).select_from(crops).where(crops.c.key_id != UNDER_SUBJECT)
        return int((await self._connection.execute(query)).scalar_one())

    async def purge(self, before: datetime | None) -> int:
        """Deletes crops older than `before`, or all if None, and returns their number.

        Those of subjects on hold stay.
        """
        held = (
            select(samples.c.sample_id)
            .join(subject_terms, subject_terms.c.subject_id == samples.c.subject_id)
            .where(samples.c.sample_id == crops.c.sample_id, subject_terms.c.hold_since.is_not(None))
        )
        expired = delete(crops).where(~held.exists())
        if before is not None:
            expired = expired.where(crops.c.created_at < before)
        return (await self._connection.execute(expired)).rowcount
