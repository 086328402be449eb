"""An embedding space in service: its networks, its gallery and how far the gallery has read the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import structlog

from faces.bundle import Bundle, BundleError, Manifest, verify
from faces.calibration import Calibration
from service.gallery.base import Gallery
from service.gallery.faiss import FaissGallery
from service.inference.batcher import Observe
from service.inference.engine import Engine, EngineOptions
from service.store.database import Database

log = structlog.get_logger("halflight.spaces")

TAIL_ROWS = 2000


class SpaceConflict(RuntimeError):
    """The database's templates belong to another space than the configured bundle makes."""


@dataclass(slots=True, eq=False)
class EmbeddingSpace:
    """Networks, gallery and thresholds that belong together; a request takes one reference, once."""

    manifest: Manifest
    engine: Engine
    gallery: Gallery
    applied_seq: int = 0
    _feeding: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def space_id(self) -> str:
        return self.manifest.space_id

    @property
    def calibration(self) -> Calibration:
        """The thresholds. A space without any is refused when it is opened."""
        assert self.manifest.calibration is not None  # noqa: S101 - checked by SpaceRegistry.open
        return self.manifest.calibration

    async def load_gallery(self, db: Database) -> None:
        """Fill the gallery from the truth: one snapshot, then the log's tail."""
        async with self._feeding:
            async with db.read() as uow:
                snapshot = await uow.log.snapshot(self.space_id)
            self.gallery.clear()
            if len(snapshot.ids):
                await asyncio.to_thread(self.gallery.add, snapshot.ids, snapshot.vectors)
            self.applied_seq = snapshot.seq
        await self.catch_up(db)

    async def catch_up(self, db: Database) -> int:
        """Apply what the log holds beyond `applied_seq`; the number of rows applied."""
        applied = 0
        async with self._feeding:
            while True:
                async with db.read() as uow:
                    entries = await uow.log.tail(self.space_id, self.applied_seq, TAIL_ROWS)
                for entry in entries:
                    ids = np.array([entry.template_id], np.int64)
                    if entry.op == "remove":
                        self.gallery.remove(ids)
                    elif entry.vector is not None:
                        self.gallery.add(ids, entry.vector[None, :])
                    self.applied_seq = entry.seq
                applied += len(entries)
                if len(entries) < TAIL_ROWS:
                    return applied

    async def behind(self, db: Database) -> int:
        """Log rows that this gallery has not applied yet."""
        async with db.read() as uow:
            return max(0, await uow.log.head(self.space_id) - self.applied_seq)


class SpaceRegistry:
    """Holds the active space of this process. Loading and swapping is its business alone."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._active: EmbeddingSpace | None = None

    @property
    def active(self) -> EmbeddingSpace | None:
        return self._active

    async def open(
        self,
        bundle: Bundle,
        options: EngineOptions,
        *,
        observe: Callable[[str], Observe] | None = None,
    ) -> EmbeddingSpace:
        """Verify, load, warm and activate a bundle's space.

        Raises BundleError, ProviderError, SpaceConflict.
        """
        if bundle.manifest.calibration is None:
            raise BundleError(f"bundle {bundle.manifest.name} has no thresholds: calibrate it first")
        await asyncio.to_thread(verify, bundle)
        await self._claim(bundle.manifest)
        engine = await asyncio.to_thread(Engine.load, bundle, options, observe=observe)
        engine.start()
        space = EmbeddingSpace(bundle.manifest, engine, FaissGallery(bundle.manifest.encoder.dimension))
        await space.load_gallery(self._db)
        self._active = space
        log.info("space active", space_id=space.space_id, templates=space.gallery.size)
        return space

    async def _claim(self, manifest: Manifest) -> None:
        """Make the manifest's space the active one, unless another one still holds templates."""
        async with self._db.write() as uow:
            active = await uow.spaces.active()
            if active is not None and active.space_id == manifest.space_id:
                return
            if active is not None:
                if held := await uow.templates.count(active.space_id):
                    raise SpaceConflict(
                        f"the database holds {held} templates of space {active.space_id}, but the"
                        f" bundle {manifest.name} makes space {manifest.space_id}; start with the"
                        " bundle they were made with, or with another data directory"
                    )
                await uow.spaces.set_state(active.space_id, "retired")
            await uow.spaces.register(
                manifest.space_id, manifest.name, manifest.encoder.dimension, "registered"
            )
            await uow.spaces.set_state(manifest.space_id, "active")
            await uow.commit()

    async def close(self) -> None:
        if self._active is not None:
            await self._active.engine.close()
