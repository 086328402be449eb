"""Use cases of an administrator: register, backfill, activate, retire and delete embedding spaces."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from faces.bundle import BundleError
from service.bundles import signing
from service.errors import InvalidParameter, SpaceNotFound, SpaceNotReady
from service.inference.parity import ParityError
from service.inference.session import ProviderError
from service.jobs.queue import enqueue
from service.spaces.adoption import new_bundle
from service.spaces.registry import SpaceRegistry
from service.spaces.view import SpaceView, space_views
from service.store.database import Database
from service.store.errors import StoreError
from service.store.job_records import JobRecord
from service.store.records import SpaceRecord, SpaceState
from service.store.unit import UnitOfWork

log = structlog.get_logger("halflight.admin")

BACKFILL = "backfill"
FILLABLE: tuple[SpaceState, ...] = ("registered", "backfilling", "ready", "retired")


class SpaceAdmin:
    """Each use case writes to the audit log in its own transaction."""

    def __init__(
        self,
        db: Database,
        registry: SpaceRegistry,
        *,
        settle_s: float,
        bundle_key: Path | None,
    ) -> None:
        """`settle_s`: time within which every replica sees a change of state.

        `bundle_key`: public key that bundles must be signed with, None to accept unsigned ones.
        """
        self._db, self._registry = db, registry
        self._settle_s, self._bundle_key = settle_s, bundle_key

    async def all(self) -> list[SpaceView]:
        """Every space, oldest first."""
        async with self._db.read() as uow:
            return await space_views(uow, await uow.spaces.all(), self._registry.errors)

    async def one(self, space_id: str) -> SpaceView:
        """Raises SpaceNotFound."""
        async with self._db.read() as uow:
            return (await space_views(uow, [await _get(uow, space_id)], self._registry.errors))[0]

    async def register(self, name: str, actor: str) -> SpaceView:
        """Verifies a bundle of the registry directory, loads it on this provider, stores its space.

        A bundle of a known space replaces its thresholds at once. Raises InvalidParameter.
        """
        try:
            digest = await asyncio.to_thread(self._install, name)
            bundle = await asyncio.to_thread(self._registry.bundles.find_by_digest, digest)
            await self._registry.try_bundle(bundle)
        except (BundleError, ParityError, ProviderError, signing.SigningKeyError) as error:
            raise InvalidParameter(str(error)) from error
        except OSError as error:
            raise InvalidParameter("the bundle cannot be read, or not be copied") from error
        except Exception as error:
            log.error("bundle refused", bundle=name, kind=type(error).__name__)
            raise InvalidParameter("the bundle's networks cannot be loaded") from error
        manifest = bundle.manifest
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            await uow.spaces.register(manifest.space_id, manifest.name, manifest.encoder.dimension)
            await uow.spaces.add_bundle(new_bundle(manifest, digest))
            detail = {"space_id": manifest.space_id, "bundle": manifest.name, "digest": digest}
            await uow.audit.add(actor, "space.register", None, detail)
            await uow.commit()
        await self._follow()
        return await self.one(manifest.space_id)

    def _install(self, name: str) -> str:
        """Checks signature and digests, and copies the bundle under its digest, which is returned."""
        store = self._registry.bundles
        waiting = store.find_by_name(name)
        try:
            if self._bundle_key is not None:
                signing.verify_signature(waiting, self._bundle_key)
            return store.install(waiting)
        finally:
            store.discard(waiting)

    async def backfill(self, space_id: str, actor: str) -> tuple[SpaceView, str]:
        """Queues the job that fills the space; enrolments write to the space from now on.

        Returns the space and the id of the job. Raises SpaceNotFound, SpaceNotReady for the active space.
        """
        async with self._db.write() as uow:
            await self._begin_backfill(uow, space_id, actor)
            # In one transaction, so that a kill leaves no space that is wanted and has no job.
            request = {"space_id": space_id, "actor": actor}
            job_id = await enqueue(uow, BACKFILL, request, actor=actor)
            await uow.backfills.request(space_id, job_id)
            await uow.commit()
        return await self.one(space_id), job_id

    async def backfill_within(self, job_id: str, space_id: str, actor: str) -> SpaceView:
        """Prepares the space for a running job that fills it itself. Raises as `backfill` does."""
        async with self._db.write() as uow:
            await self._begin_backfill(uow, space_id, actor)
            await uow.backfills.request(space_id, job_id)
            await uow.commit()
        return await self.one(space_id)

    async def _begin_backfill(self, uow: UnitOfWork, space_id: str, actor: str) -> None:
        await uow.spaces.lock_exclusive()
        record = await _get(uow, space_id)
        if not await uow.spaces.transition(space_id, FILLABLE, "backfilling"):
            raise SpaceNotReady(f"the space is {record.state}: there is nothing to fill")
        if space_id not in await uow.spaces.newest_bundles():
            raise SpaceNotReady("the space has no registered bundle: register it again")
        await uow.audit.add(actor, "space.backfill", None, {"space_id": space_id})

    async def end_cancelled_backfill(self, job: JobRecord, actor: str) -> None:
        """Retires the space of a backfill job that was cancelled before it began."""
        space_id = str(job.request["space_id"])
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            record, backfill = await uow.spaces.get(space_id), await uow.backfills.get(space_id)
            if record is None or record.state != "backfilling":
                return
            if backfill is None or not backfill.wanted or backfill.job_id != job.job_id:
                # Another job fills the space.
                return
            await self._retire(uow, space_id)
            await uow.audit.add(actor, "space.retire", None, {"space_id": space_id})
            await uow.commit()
        await self._follow()

    async def activate(self, space_id: str, actor: str) -> SpaceView:
        """Makes the space active: in this process at once, in other replicas at their next poll.

        Enrolments still write to the former one, so the way back is the same request. Does nothing if
        the space is active. Raises SpaceNotFound, SpaceNotReady.
        """
        view = await self.one(space_id)
        if view.record.state == "active":
            return view
        if view.record.state != "ready":
            raise SpaceNotReady(_why_not(view), missing=view.missing)
        # Everything slow comes before the transaction; the swap replaces one reference.
        try:
            space = await self._registry.load(space_id)
        except (BundleError, ParityError, ProviderError) as error:
            raise SpaceNotReady(f"this replica cannot load the space: {error}") from error
        await space.follow(self._db)
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            former = await uow.spaces.active()
            if missing := await uow.templates.count_missing(space_id):
                raise SpaceNotReady(f"{missing} samples have no template in it: backfill it", missing=missing)
            if not await uow.spaces.activate(space_id):
                raise SpaceNotReady("the space changed its state meanwhile")
            detail = {"space_id": space_id, "former": former.space_id if former else None}
            await uow.audit.add(actor, "space.activate", None, detail)
            await uow.commit()
        await self._follow()
        return await self.one(space_id)

    async def retire(self, space_id: str, actor: str) -> SpaceView:
        """Ends writing to the space. Its templates stay; a backfill brings it back.

        Raises SpaceNotFound, SpaceNotReady for the active space.
        """
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            await _get(uow, space_id)
            await self._retire(uow, space_id)
            await uow.audit.add(actor, "space.retire", None, {"space_id": space_id})
            await uow.commit()
        await self._follow()
        return await self.one(space_id)

    async def delete(self, space_id: str, actor: str) -> int:
        """Erases a space with its templates, log and bundles; returns the number of templates.

        Raises SpaceNotFound, SpaceNotReady for the active space.
        """
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            await _get(uow, space_id)
            await self._retire(uow, space_id)
            await uow.commit()
        # A replica that has not seen the last swap may still search the space.
        await asyncio.sleep(self._settle_s)
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            record = await _get(uow, space_id)
            if record.state != "retired":
                raise SpaceNotReady(f"somebody made the space {record.state} meanwhile")
            templates = await uow.templates.count(space_id)
            collection = await uow.search.collection(space_id)
            digests = await uow.spaces.delete(space_id)
            detail = {"space_id": space_id, "templates": templates}
            await uow.audit.add(actor, "space.delete", None, detail)
            await uow.commit()
        await self._follow()
        if self._db.search is not None:
            await asyncio.to_thread(self._db.search.forget, space_id)
        if self._db.milvus is not None:
            await asyncio.to_thread(self._db.milvus.drop, collection)
        for digest in digests:
            await asyncio.to_thread(self._registry.bundles.remove, digest)
        return templates

    async def _retire(self, uow: UnitOfWork, space_id: str) -> None:
        if not await uow.spaces.transition(space_id, (*FILLABLE,), "retired"):
            raise SpaceNotReady("the space is active: activate another one first")
        await uow.backfills.finish(space_id, {})

    async def _follow(self) -> None:
        """Applies the commit to this process at once; other replicas follow at their next poll."""
        try:
            await self._registry.follow()
        except StoreError as error:
            log.warning("spaces wait for the database", cause=type(error.__cause__).__name__)


async def _get(uow: UnitOfWork, space_id: str) -> SpaceRecord:
    record = await uow.spaces.get(space_id)
    if record is None:
        raise SpaceNotFound("there is no such embedding space")
    return record


def _why_not(view: SpaceView) -> str:
    said = f"the space is {view.record.state} and {view.missing} samples have no template in it"
    return f"{said}: {view.message}" if view.message else f"{said}: backfill it, and wait until it is ready"
