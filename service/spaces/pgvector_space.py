"""A space whose gallery PostgreSQL keeps: there is no log to follow, only what others left out to add."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from faces.bundle import Manifest
from service.inference.engine import Engine
from service.spaces.pgvector_gallery import PgvectorGallery
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.search_index import SearchIndex

# Between portions of templates, for others.
PAUSE_S = 0.02

log = structlog.get_logger("halflight.spaces")


@dataclass(slots=True, eq=False)
class PgvectorSpace(EmbeddingSpace):
    """`applied_seq`: up to which row of the log the templates are counted."""

    gallery: PgvectorGallery

    @property
    def _dimension(self) -> int:
        return self.manifest.encoder.dimension

    async def load_gallery(self, db: Database) -> None:
        """Gives every template its search vector that has none, and the space its index."""
        async with self._lock:
            after, added = None, 0
            while True:
                async with db.read() as uow:
                    found = await uow.search.missing(self.space_id, self._dimension, after)
                if found.last is None:
                    break
                after, added = found.last, added + len(found.ids)
                await asyncio.to_thread(self.gallery.put, found.ids, found.vectors)
            if added:
                log.info("search vectors added", space_id=self.space_id, templates=added)
            await asyncio.to_thread(self.gallery.arrange)
            async with db.read() as uow:
                self.applied_seq, self.gallery.size = await uow.search.counted(self.space_id)
            self.filled = True

    async def look_at_seals(self, db: Database) -> None:
        """Opens every template once, so that readiness names those that do not open."""
        after: int | None = -1
        while after is not None:
            async with db.read() as uow:
                after = await uow.search.refuse_sealed(self.space_id, after)
            await asyncio.sleep(PAUSE_S)

    async def catch_up(self, db: Database) -> int:
        """Counts what the log says; returns the number of templates that had no search vector.

        Those are of a replica that runs without pgvector, or of an older release.
        """
        async with self._lock:
            async with db.read() as uow:
                tail = await uow.search.tail(self.space_id, self.applied_seq)
                found = await uow.search.open(self.space_id, self._dimension, tail.missing)
            self.gallery.size += tail.added - tail.removed
            if len(found.ids):
                await asyncio.to_thread(self.gallery.put, found.ids, found.vectors)
            self.applied_seq = tail.seq
            return len(found.ids)

    async def behind(self, db: Database) -> int:
        """The number of new templates without a search vector; those that have one are searched already."""
        async with db.read() as uow:
            return len((await uow.search.tail(self.space_id, self.applied_seq)).missing)


async def pgvector_space(
    db: Database, index: SearchIndex, manifest: Manifest, engine: Engine, digest: str
) -> PgvectorSpace:
    """A space that is searched in the database. Raises StoreError."""
    async with db.read() as uow:
        transform = await uow.search.transform(manifest.space_id, manifest.encoder.dimension)
    gallery = PgvectorGallery(index, manifest.space_id, transform)
    return PgvectorSpace(manifest, engine, gallery, digest)
