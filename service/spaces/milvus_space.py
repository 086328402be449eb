"""A space whose gallery Milvus keeps: follows the log to mend what the writers of rows left undone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from faces.bundle import Manifest
from service.inference.engine import Engine
from service.spaces.milvus_gallery import MilvusGallery
from service.spaces.pgvector_space import PAUSE_S
from service.spaces.space import TAIL_ROWS, EmbeddingSpace
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import LogEntry

# Longer than any transaction that writes rows ahead of its commit.
GRACE_S = 60.0

log = structlog.get_logger("halflight.spaces")


@dataclass(slots=True, eq=False)
class MilvusSpace(EmbeddingSpace):
    """`applied_seq`: up to which row of the log this process has seen that Milvus has it."""

    gallery: MilvusGallery

    async def load_gallery(self, db: Database) -> None:
        """Gives every template its row that has none."""
        async with self._lock:
            async with db.read() as uow:
                self.applied_seq, size = await uow.templates.counted(self.space_id)
            await self._fill(db)
            self.gallery.size, self.filled = size, True
        await self.catch_up(db)

    async def _fill(self, db: Database) -> None:
        await asyncio.to_thread(self.gallery.arrange)
        after, added = -(2**63), 0
        while True:
            async with db.read() as uow:
                ids = await uow.templates.ids(self.space_id, after, TAIL_ROWS)
            if not ids:
                break
            after = ids[-1]
            added += await self._put_missing(db, ids)
        if added:
            log.info("search vectors added", space_id=self.space_id, templates=added)
        await asyncio.to_thread(self.gallery.index.mark_whole, self.gallery.name)

    async def _put_missing(self, db: Database, ids: Sequence[int]) -> int:
        """Stores the rows that Milvus lacks of these templates; returns their number."""
        present = await asyncio.to_thread(self.gallery.index.present, self.gallery.name, ids)
        missing = [one for one in ids if one not in present]
        if not missing:
            return 0
        async with db.read() as uow:
            found = await uow.search.open(self.space_id, self.manifest.encoder.dimension, missing)
        if len(found.ids):
            await asyncio.to_thread(self.gallery.put, found.ids, found.vectors)
        return len(found.ids)

    async def catch_up(self, db: Database) -> int:
        """Looks at what the log says since, and at rows whose commit is in doubt; returns the number of
        entries of the log.

        Writers store and erase rows themselves. One that was killed, or runs without Milvus, leaves it to
        others.
        """
        async with self._lock:
            if not await asyncio.to_thread(self.gallery.whole):
                await self._fill(db)
            applied = 0
            while True:
                async with db.read() as uow:
                    entries = await uow.log.tail(self.space_id, self.applied_seq, TAIL_ROWS)
                if entries:
                    await self._apply_entries(db, entries)
                applied += len(entries)
                if len(entries) < TAIL_ROWS:
                    break
            await self._settle(db, self.gallery.index.doubtful(self.gallery.name, GRACE_S))
            return applied

    async def behind(self, db: Database) -> int:
        """The number of new templates without a row, up to `TAIL_ROWS`; those that have one are searched
        already. Raises StoreError too if Milvus does not answer, or has lost rows."""
        await asyncio.to_thread(self.gallery.index.ping)
        if not await asyncio.to_thread(self.gallery.whole):
            raise StoreError("Milvus lacks rows of templates")
        async with db.read() as uow:
            entries = await uow.log.tail(self.space_id, self.applied_seq, TAIL_ROWS)
        # What has gone since has no vector any more.
        added = [one.template_id for one in entries if one.vector is not None]
        present = await asyncio.to_thread(self.gallery.index.present, self.gallery.name, added)
        return len(set(added) - present)

    async def _apply_entries(self, db: Database, entries: Sequence[LogEntry]) -> None:
        removed = {one.template_id for one in entries if one.op == "remove"}
        added = [one.template_id for one in entries if one.op == "add"]
        await asyncio.to_thread(self.gallery.index.remove, self.gallery.name, sorted(removed))
        await self._put_missing(db, [one for one in added if one not in removed])
        self.gallery.size += len(added) - len(removed)
        self.applied_seq = entries[-1].seq

    async def _settle(self, db: Database, ids: Sequence[int]) -> int:
        """Erases those of these rows that have no template; returns their number."""
        if not ids:
            return 0
        async with db.read() as uow:
            known = await uow.templates.existing(self.space_id, ids)
        strange = [one for one in ids if one not in known]
        await asyncio.to_thread(self.gallery.index.remove, self.gallery.name, strange)
        return len(strange)

    async def look_at_seals(self, db: Database) -> None:
        """Opens every template once, so that readiness names those that do not open; then erases rows without
        a template, which a killed process left."""
        after: int | None = -1
        while after is not None:
            async with db.read() as uow:
                after = await uow.search.refuse_sealed(self.space_id, after)
            await asyncio.sleep(PAUSE_S)
        strange = await self._strange(db)
        if strange:
            # Some may be of transactions that have not ended yet.
            await asyncio.sleep(GRACE_S)
            if erased := await self._settle(db, strange):
                log.info("search vectors without a template erased", space_id=self.space_id, rows=erased)

    async def _strange(self, db: Database) -> list[int]:
        """The ids of rows that have no template."""
        strange: list[int] = []
        parts = await asyncio.to_thread(lambda: list(self.gallery.index.every(self.gallery.name)))
        for part in parts:
            async with db.read() as uow:
                known = await uow.templates.existing(self.space_id, part)
            strange += [one for one in part if one not in known]
            await asyncio.sleep(PAUSE_S)
        return strange


async def milvus_space(db: Database, manifest: Manifest, engine: Engine, digest: str) -> MilvusSpace:
    """A space that is searched in Milvus, with its collection. Raises StoreError."""
    assert db.milvus is not None  # noqa: S101 - the caller has asked
    assert db.reader is not None  # noqa: S101 - it comes with Milvus
    async with db.read() as uow:
        transform = await uow.search.transform(manifest.space_id, manifest.encoder.dimension)
        name = await uow.search.collection(manifest.space_id)
    gallery = MilvusGallery(db.milvus, db.reader, manifest.space_id, name, transform)
    # Enrolments write to the space as soon as it is loaded.
    await asyncio.to_thread(gallery.arrange)
    return MilvusSpace(manifest, engine, gallery, digest)
