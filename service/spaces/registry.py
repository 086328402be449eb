"""The spaces that this process has loaded, and the active one; the database says which they are.

Every replica follows the database on its own: it loads the spaces that enrolments must write to, and
swaps its reference to the active space when the gallery of that one is complete. Requests that hold
the old reference finish with it: the registry closes the networks a while later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from faces.bundle import Bundle, BundleError, Manifest
from service.bundles.registry import BundleStore
from service.gallery.exact import ExactGallery
from service.gallery.rows import SealedRows
from service.inference.batcher import Observe
from service.inference.engine import Engine, EngineOptions
from service.inference.parity import ParityError, check_parity
from service.spaces.adoption import adopt, require_thresholds
from service.spaces.milvus_space import milvus_space
from service.spaces.pgvector_space import pgvector_space
from service.spaces.snapshots import GallerySnapshots
from service.spaces.space import EmbeddingSpace
from service.spaces.threshold_checks import other_scores
from service.spaces.threshold_table import ThresholdTable
from service.spaces.thresholds import InForce, Installed, SetAside
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import SpaceRecord
from service.store.spaces import WRITABLE

log = structlog.get_logger("halflight.spaces")

# Longer than any request takes: until then a request may still hold a space that was dropped.
CLOSE_AFTER_S = 60.0
HOW_TO_MOVE = (
    "GET /admin/spaces, POST /admin/spaces/{id}/backfill, GET /admin/spaces until it is ready,"
    " POST /admin/spaces/{id}/activate, and DELETE /admin/spaces/{old id} when you are sure"
)


class SpaceConflict(RuntimeError):
    """The bundle of the active space is missing, and the configured bundle makes another space."""


class SpaceRegistry:
    """Loads, swaps and closes the spaces of this process.

    `rows`: directory for the files of float32 rows of galleries; None keeps them in memory. `snapshots`:
    of galleries, in the same directory.
    """

    def __init__(
        self,
        db: Database,
        bundles: BundleStore,
        rows: Path | None = None,
        snapshots: GallerySnapshots | None = None,
    ) -> None:
        self._db, self.bundles, self._rows, self.snapshots = db, bundles, rows, snapshots
        self._active: EmbeddingSpace | None = None
        self._loaded: dict[str, EmbeddingSpace] = {}
        self._options: EngineOptions | None = None
        self._observe: Callable[[str], Observe] | None = None
        self._load_lock, self._follow_lock = asyncio.Lock(), asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._errors: dict[str, str] = {}
        self._active_error: str | None = None

    @property
    def active(self) -> EmbeddingSpace | None:
        return self._active

    @property
    def loaded(self) -> tuple[EmbeddingSpace, ...]:
        """The spaces that this process can write templates for, the active one among them."""
        return tuple(self._loaded.values())

    @property
    def errors(self) -> Mapping[str, str]:
        """The reason for each space that this process should serve or write to, and cannot load."""
        return self._errors

    @property
    def active_error(self) -> str | None:
        """Why this process cannot load the active space and still serves another one; None if it can."""
        return self._active_error

    async def open(
        self,
        configured: Bundle,
        options: EngineOptions,
        *,
        observe: Callable[[str], Observe] | None = None,
    ) -> EmbeddingSpace:
        """Loads, warms and serves the space that is active in the database.

        Registers the configured bundle if it is new; on an empty database its space becomes active.
        Raises BundleError, ProviderError, ParityError, SpaceConflict.
        """
        self._options, self._observe = options, observe
        await adopt(self._db, self.bundles, configured)
        async with self._db.read() as uow:
            active, serving = await uow.spaces.active(), await uow.spaces.newest_bundles()
        assert active is not None  # noqa: S101 - `adopt` made one active
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
        async with self._db.read() as uow:
            versions = await uow.thresholds.active()
        await self._follow_thresholds(space, versions.get(space.space_id))
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

    async def try_bundle(self, bundle: Bundle) -> None:
        """Loads a bundle on this host's provider, checks its parity crops, and drops it again.

        Raises BundleError, ProviderError, ParityError.
        """
        await asyncio.to_thread(self._engine, bundle)

    async def load(self, space_id: str) -> EmbeddingSpace:
        """Returns the space with its networks, from its newest bundle; does not fill its gallery.

        Raises BundleError, ProviderError, ParityError, StoreError.
        """
        async with self._load_lock:
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
            made = await self._space(bundle.manifest, engine, record.digest)
            self._loaded[space_id] = made
            if known is not None:
                self._close_later(known)
            log.info("space loaded", space_id=space_id, bundle=record.name, digest=record.digest[:16])
            return made

    async def _space(self, manifest: Manifest, engine: Engine, digest: str) -> EmbeddingSpace:
        """A space with an empty gallery of the kind that the settings say."""
        if self._db.search is not None:
            return await pgvector_space(self._db, self._db.search, manifest, engine, digest)
        if self._db.milvus is not None:
            return await milvus_space(self._db, manifest, engine, digest)
        gallery = self._gallery(manifest.space_id, manifest.encoder.dimension)
        return EmbeddingSpace(manifest, engine, gallery, digest, snapshots=self.snapshots)

    def _gallery(self, space_id: str, dimension: int) -> ExactGallery:
        if self._rows is None:
            return ExactGallery(dimension)
        return ExactGallery(dimension, rows=partial(SealedRows, directory=self._rows / space_id))

    async def follow(self) -> None:
        """Loads, swaps, catches up and drops spaces as the database says. Raises StoreError."""
        async with self._follow_lock:
            async with self._db.read() as uow:
                records = {r.space_id: r for r in await uow.spaces.all() if r.state in WRITABLE}
                versions = await uow.thresholds.active()
            for record in records.values():
                await self._follow_one(record, versions.get(record.space_id))
            for space_id in set(self._loaded) - set(records):
                # The active space stays until another one replaces it, whatever the table says.
                if self._loaded[space_id] is not self._active:
                    self._close_later(self._loaded.pop(space_id))
            for space_id in set(self._errors) - set(records):
                del self._errors[space_id]
            active = next((r.space_id for r in records.values() if r.state == "active"), "")
            self._active_error = self._errors.get(active)

    async def _follow_one(self, record: SpaceRecord, version: int | None) -> None:
        """`version`: of the thresholds in force, None for the bundle's."""
        try:
            space = await self.load(record.space_id)
            await self._follow_thresholds(space, version)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - an error of one space must not stop the others
            if record.space_id not in self._errors:
                log.error("space cannot be loaded", space_id=record.space_id, kind=type(error).__name__)
            self._errors[record.space_id] = _reason(error)
            return
        self._errors.pop(record.space_id, None)
        if record.state == "backfilling":
            return
        await space.follow(self._db)
        if record.state == "active" and space is not self._active:
            self._active = space
            log.info("space active", space_id=space.space_id, templates=space.gallery.size)

    async def _follow_thresholds(self, space: EmbeddingSpace, version: int | None) -> None:
        """Lets the space decide by a version of installed thresholds, or by the bundle's.

        Installed thresholds for scores by another cohort are set aside by name: the bundle's own decide.
        Raises BundleError if they cannot be used otherwise: the service must not decide by others unasked.
        """
        if space.thresholds.asked == version:
            return
        if version is not None:
            async with self._db.read() as uow:
                record = await uow.thresholds.get(version)
            if record is None:
                return  # The space was erased meanwhile.
            try:
                table = ThresholdTable.model_validate(record.document)
                in_force = await asyncio.to_thread(self._in_force, space, version, table, record.default_fmr)
            except ValueError as error:
                raise BundleError(
                    f"version {version} of the thresholds does not fit the bundle of space {space.space_id}:"
                    " activate another one, or `bundle`"
                ) from error
        else:
            in_force = InForce(space.bundle_calibration)
        space.decide_by(in_force)
        log.info("thresholds in force", space_id=space.space_id, version=in_force.version)

    @staticmethod
    def _in_force(
        space: EmbeddingSpace, version: int, table: ThresholdTable, default_fmr: float | None
    ) -> InForce:
        bundle = space.bundle_calibration
        if table.cohort == bundle.cohort_id:
            return InForce(bundle, Installed(version, table, default_fmr))
        why = other_scores(table, bundle)
        log.warning("installed thresholds do not decide", space_id=space.space_id, version=version, why=why)
        return InForce(bundle, set_aside=SetAside(version, why))

    async def close(self) -> None:
        """Closes every network, also those that are to be closed later."""
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await asyncio.gather(*(space.engine.close() for space in self._loaded.values()))
        self._loaded.clear()
        if self.snapshots is not None:
            self.snapshots.close()

    def _engine(self, bundle: Bundle) -> Engine:
        assert self._options is not None  # noqa: S101 - `open` comes first
        require_thresholds(bundle)
        engine = Engine.load(bundle, self._options, observe=self._observe)
        check_parity(bundle, engine)
        return engine

    def _close_later(self, space: EmbeddingSpace) -> None:
        async def later() -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(CLOSE_AFTER_S)
            await space.engine.close()

        task = asyncio.create_task(later(), name=f"close-{space.space_id}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _reason(error: BaseException) -> str:
    """A text for clients: the text of our own errors, only the type of others, which may name a path."""
    if isinstance(error, (BundleError, ParityError)):
        return str(error)
    return f"the networks cannot be loaded ({type(error).__name__})"
