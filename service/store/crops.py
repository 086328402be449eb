"""Kept crops, sealed: the store never sees a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, exists, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from faces.types import Spectrum
from service.store.records import SealedCrop, StoredCrop
from service.store.tables import crops, samples, templates


class Crops:
    """All SQL about kept crops. They go with their sample, by the database's own cascade."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, sample_id: str, sealed: Sequence[SealedCrop]) -> None:
        """Keep a sample's crops, one for each alignment."""
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

    async def of(self, sample_ids: Sequence[str], alignment: str) -> dict[str, StoredCrop]:
        """Those of the samples that have a crop in this alignment."""
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
            sample_id: StoredCrop(kept, key_id, sealed, sample_id, Spectrum(spectrum), inter_eye_px)
            for sample_id, kept, key_id, sealed, spectrum, inter_eye_px in await self._connection.execute(
                query
            )
        }

    async def lacking(self, space_id: str, alignment: str) -> int:
        """Samples without a template in the space and without a crop to make it from."""
        has_template = exists().where(
            templates.c.sample_id == samples.c.sample_id, templates.c.space_id == space_id
        )
        has_crop = exists().where(crops.c.sample_id == samples.c.sample_id, crops.c.alignment == alignment)
        query = select(func.count()).select_from(samples).where(~has_template, ~has_crop)
        return int((await self._connection.execute(query)).scalar_one())

    async def under_other_keys(self, key_id: str) -> int:
        """Crops that this key cannot open."""
        query = select(func.count()).select_from(crops).where(crops.c.key_id != key_id)
        return int((await self._connection.execute(query)).scalar_one())

    async def purge(self, before: datetime | None) -> int:
        """Erase the crops made before a moment, or all of them; how many."""
        old = delete(crops)
        if before is not None:
            old = old.where(crops.c.created_at < before)
        return (await self._connection.execute(old)).rowcount
