"""Stores the encrypted crops of samples; the store never sees a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, exists, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from faces.types import Spectrum
from service.store.records import SealedCrop, StoredCrop
from service.store.tables import crops, samples, templates


class Crops:
    """All SQL about crops. The database deletes them with their sample (cascade)."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, sample_id: str, sealed: Sequence[SealedCrop]) -> None:
        """Stores the crops of a sample, one for each alignment."""
        if not sealed:
            return
        now = datetime.now(UTC)
        rows = [
            {
                "sample_id": sample_id,
                "alignment": one.alignment,
                "key_id": one.key_id,
                "sealed": one.sealed,
                "created_at": now,
            }
            for one in sealed
        ]
        await self._connection.execute(insert(crops), rows)

    async def of_samples(self, sample_ids: Sequence[str], alignment: str) -> dict[str, StoredCrop]:
        """Maps each sample that has a crop in this alignment to the crop."""
        query = (
            select(
                crops.c.sample_id,
                crops.c.alignment,
                crops.c.key_id,
                crops.c.sealed,
                samples.c.spectrum,
                samples.c.inter_eye_px,
            )
            .join(samples, samples.c.sample_id == crops.c.sample_id)
            .where(crops.c.sample_id.in_(list(sample_ids)), crops.c.alignment == alignment)
        )
        return {
            sample_id: StoredCrop(found, key_id, sealed, sample_id, Spectrum(spectrum), inter_eye_px)
            for sample_id, found, key_id, sealed, spectrum, inter_eye_px in await self._connection.execute(
                query
            )
        }

    async def count_unembeddable(self, space_id: str, alignment: str) -> int:
        """Counts samples with neither a template in the space nor a crop to embed."""
        has_template = exists().where(
            templates.c.sample_id == samples.c.sample_id, templates.c.space_id == space_id
        )
        has_crop = exists().where(crops.c.sample_id == samples.c.sample_id, crops.c.alignment == alignment)
        query = select(func.count()).select_from(samples).where(~has_template, ~has_crop)
        return int((await self._connection.execute(query)).scalar_one())

    async def count_under_other_keys(self, key_id: str) -> int:
        """Counts the crops that this key cannot decrypt."""
        query = select(func.count()).select_from(crops).where(crops.c.key_id != key_id)
        return int((await self._connection.execute(query)).scalar_one())

    async def purge(self, before: datetime | None) -> int:
        """Deletes crops older than `before`, or all if None, and returns their number."""
        expired = delete(crops)
        if before is not None:
            expired = expired.where(crops.c.created_at < before)
        return (await self._connection.execute(expired)).rowcount
