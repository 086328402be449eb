"""The spaces that this process has loaded, and the one that is active; the database says which.

Every replica follows on its own: it loads the spaces that enrolments have to be written to, and swaps
the reference to the active one when its gallery is whole. Whoever holds the old reference finishes
with it: its networks are closed a while later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from faces.bundle import Bundle, BundleError, Manifest
from faces.types import CONDITIONS
from service.bundles.registry import BundleStore
from service.gallery.faiss import FaissGallery
from service.inference.batcher import Observe
from service.inference.engine import Engine, EngineOptions
from service.inference.parity import ParityError, check_parity
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import NewBundle, SpaceRecord
from service.store.spaces import WRITABLE

__all__ = ["EmbeddingSpace", "SpaceConflict", "SpaceRegistry", "facts"]

log = structlog.get_logger("halflight.spaces")

# Longer than any request takes: until then somebody may still hold a space that was dropped.
CLOSE_AFTER_S = 60.0
HOW_TO_MOVE = (
    "GET /admin/spaces, POST /admin/spaces/{id}/backfill, GET /admin/spaces until it is ready,"
    " POST /admin/spaces/{id}/activate, and DELETE /admin/spaces/{old id} when you are sure"
)


class SpaceConflict(RuntimeError):
    """The active space's bundle is not to be had, and the configured one makes another space."""


def facts(manifest: Manifest) -> dict[str, object]:
    """What is kept of a manifest: its alignment, and the FNMR at the default FMR in each condition."""
    calibration = manifest.calibration
    if calibration is None:
        return {}
    fmr = calibration.default_fmr
    known = {"alignment": manifest.encoder.alignment, "dimension": manifest.encoder.dimension}
    return known | {"default_fmr": fmr, "fnmr": {str(c): calibration.at(c, fmr).fnmr for c in CONDITIONS}}


class SpaceRegistry:
    """Loading and swapping is its business alone."""

    def __init__(self, db: Database, bundles: BundleStore) -> None:
        self._db, self.bundles = db, bundles
        self._active: EmbeddingSpace | None = None
        self._loaded: dict[str, EmbeddingSpace] = {}
        self._options: EngineOptions | None = None
        self._observe: Callable[[str], Observe] | None = None
        self._changing, self._following = asyncio.Lock(), asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._trouble: dict[str, str] = {}
        self._trouble_of_active: str | None = None

    @property
    def active(self) -> EmbeddingSpace | None:
        return self._active

    @property
    def loaded(self) -> tuple[EmbeddingSpace, ...]:
        """Every space that this process can write templates for; the active one among them."""
        return tuple(self._loaded.values())

    @property
    def trouble(self) -> Mapping[str, str]:
        """Spaces that this process should serve or write and cannot load, each with the reason."""
        return self._trouble

    @property
    def trouble_of_active(self) -> str | None:
        """Why this process still serves another space than the database's active one, if it cannot."""
        return self._trouble_of_active

    async def open(
        self,
        configured: Bundle,
        options: EngineOptions,
        *,
        observe: Callable[[str], Observe] | None = None,
    ) -> EmbeddingSpace:
        """Load, warm and serve the space that the database calls active.

        A configured bundle that is new is registered; on an empty database it becomes the active one.
        Raises BundleError, ProviderError, ParityError, SpaceConflict.
        """
        self._options, self._observe = options, observe
        await self._adopt(configured)
        async with self._db.read() as uow:
            active, serving = await uow.spaces.active(), await uow.spaces.newest_bundles()
        assert active is not None  # noqa: S101 - `_adopt` made one where there was none
        if active.space_id not in serving:
            async with self._db.read() as uow:
                held = await uow.templates.count(active.space_id)
            raise SpaceConflict(
                f"the database's active space {active.space_id} with {held} templates has no registered"
                f" bundle, and the bundle {configured.manifest.name} makes space"
                f" {configured.manifest.space_id}; start once with the bundle that they were made with, or"
                " with another data directory"
            )
        space = await self.load(active.space_id)
        await space.follow(self._db)
        self._active = space
        log.info("space active", space_id=space.space_id, templates=space.gallery.size)
        if configured.manifest.space_id != space.space_id:
            log.warning(
                "the configured bundle makes another space; the active one stays",
                space_id=configured.manifest.space_id,
                how_to_move=HOW_TO_MOVE,
            )
        return space

    async def prove(self, bundle: Bundle) -> None:
        """Load a bundle on this host's provider, replay its parity crops, and let it go again.

        Raises BundleError, ProviderError, ParityError.
        """
        await asyncio.to_thread(self._engine, bundle)

    async def load(self, space_id: str) -> EmbeddingSpace:
        """The space with its networks, loaded from its newest bundle where it is not yet; not its gallery.

        Raises BundleError, ProviderError, ParityError, StoreError.
        """
        async with self._changing:
            async with self._db.read() as uow:
                record = (await uow.spaces.newest_bundles()).get(space_id)
            if record is None:
                raise BundleError(f"space {space_id} has no registered bundle")
            known = self._loaded.get(space_id)
            if known is not None and known.digest == record.digest:
                return known
            bundle = await asyncio.to_thread(self.bundles.find_by_digest, record.digest)
            if bundle.manifest.space_id != space_id:
                raise BundleError(f"bundle {record.name} makes another space than {space_id}")
            engine = await asyncio.to_thread(self._engine, bundle)
            engine.start()
            gallery = FaissGallery(bundle.manifest.encoder.dimension)
            made = EmbeddingSpace(bundle.manifest, engine, gallery, record.digest)
            self._loaded[space_id] = made
            if known is not None:
                self._let_go(known)
            log.info("space loaded", space_id=space_id, bundle=record.name, digest=record.digest[:16])
            return made

    async def follow(self) -> None:
        """Make this process what the database says: load, swap, catch up, drop. Raises StoreError."""
        async with self._following:
            async with self._db.read() as uow:
                records = {r.space_id: r for r in await uow.spaces.all() if r.state in WRITABLE}
            for record in records.values():
                await self._follow_one(record)
            for space_id in set(self._loaded) - set(records):
                # The active one is kept until another takes its place, whatever the table says.
                if self._loaded[space_id] is not self._active:
                    self._let_go(self._loaded.pop(space_id))
            for space_id in set(self._trouble) - set(records):
                del self._trouble[space_id]
            active = next((r.space_id for r in records.values() if r.state == "active"), "")
            self._trouble_of_active = self._trouble.get(active)

    async def _follow_one(self, record: SpaceRecord) -> None:
        try:
            space = await self.load(record.space_id)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other spaces must go on
            if record.space_id not in self._trouble:
                log.error("space cannot be loaded", space_id=record.space_id, kind=type(error).__name__)
            self._trouble[record.space_id] = _reason(error)
            return
        self._trouble.pop(record.space_id, None)
        if record.state == "backfilling":
            return
        await space.follow(self._db)
        if record.state == "active" and space is not self._active:
            self._active = space
            log.info("space active", space_id=space.space_id, templates=space.gallery.size)

    async def close(self) -> None:
        """Close every network, those too that wait for it."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await asyncio.gather(*(space.engine.close() for space in self._loaded.values()))
        self._loaded.clear()

    async def _adopt(self, bundle: Bundle) -> None:
        """Register the configured bundle where nobody did yet; the first space of all is active at once."""
        manifest = bundle.manifest
        if manifest.calibration is None:
            raise BundleError(f"bundle {manifest.name} has no thresholds: calibrate it first")
        digest = await asyncio.to_thread(self.bundles.install, bundle)
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            known, active = await uow.spaces.has_bundle(digest), await uow.spaces.active()
            if known and active is not None:
                return
            await uow.spaces.register(manifest.space_id, manifest.name, manifest.encoder.dimension)
            if not known:
                await uow.spaces.add_bundle(new_bundle(manifest, digest))
            if active is not None and active.space_id != manifest.space_id:
                # An empty gallery of a bundle that nobody has any more need not hold anybody up.
                orphan = active.space_id not in await uow.spaces.newest_bundles()
                if orphan and not await uow.templates.count(active.space_id):
                    await uow.spaces.set_state(active.space_id, "retired")
                    active = None
            if active is None:
                await uow.spaces.set_state(manifest.space_id, "active")
            await uow.commit()

    def _engine(self, bundle: Bundle) -> Engine:
        assert self._options is not None  # noqa: S101 - `open` comes first
        if bundle.manifest.calibration is None:
            raise BundleError(f"bundle {bundle.manifest.name} has no thresholds: calibrate it first")
        engine = Engine.load(bundle, self._options, observe=self._observe)
        check_parity(bundle, engine)
        return engine

    def _let_go(self, space: EmbeddingSpace) -> None:
        async def later() -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(CLOSE_AFTER_S)
            await space.engine.close()

        task = asyncio.create_task(later(), name=f"close-{space.space_id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def new_bundle(manifest: Manifest, digest: str) -> NewBundle:
    """The row of a bundle that is about to be registered."""
    return NewBundle(manifest.space_id, digest, manifest.name, manifest.version, facts(manifest))


def _reason(error: BaseException) -> str:
    """What may be shown: our own errors speak for themselves, a library's may hold a path."""
    if isinstance(error, (BundleError, ParityError)):
        return str(error)
    return f"the networks cannot be loaded ({type(error).__name__})"
