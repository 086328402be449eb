"""Use cases of an administrator: register, fill, activate, retire and delete embedding spaces."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from faces.bundle import BundleError
from service.bundles import signing
from service.crops import NOT_KEPT
from service.errors import InvalidParameter, SpaceNotFound, SpaceNotReady
from service.inference.parity import ParityError
from service.inference.session import ProviderError
from service.spaces.backfill_worker import SpaceFiller
from service.spaces.registry import SpaceRegistry, new_bundle
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import BundleRecord, SpaceRecord, SpaceState
from service.store.unit import UnitOfWork

log = structlog.get_logger("halflight.admin")

FILLABLE: tuple[SpaceState, ...] = ("registered", "backfilling", "ready", "retired")


@dataclass(frozen=True, slots=True)
class SpaceView:
    """A space as an administrator sees it. `backfill`: the last report, None where nobody asked for one.

    `message` says what stands in its way, for people.
    """

    record: SpaceRecord
    bundle: BundleRecord | None
    templates: int
    missing: int
    backfill: Mapping[str, Any] | None
    message: str


class SpaceAdmin:
    """Each use case is one transaction, written to the audit log."""

    def __init__(
        self,
        db: Database,
        registry: SpaceRegistry,
        filler: SpaceFiller,
        *,
        settle_s: float,
        bundle_key: Path | None,
    ) -> None:
        """`settle_s`: after so long every replica has seen a change of state."""
        self._db, self._registry, self._filler = db, registry, filler
        self._settle_s, self._bundle_key = settle_s, bundle_key

    async def all(self) -> list[SpaceView]:
        """Every space, oldest first."""
        async with self._db.read() as uow:
            return await self._views(uow, await uow.spaces.all())

    async def one(self, space_id: str) -> SpaceView:
        """Raises SpaceNotFound."""
        async with self._db.read() as uow:
            return (await self._views(uow, [await _get(uow, space_id)]))[0]

    async def register(self, name: str, actor: str) -> SpaceView:
        """Verify a bundle of the registry directory, load it on this provider, make its space known.

        A bundle of a known space brings it new thresholds, at once. Raises InvalidParameter.
        """
        try:
            digest = await asyncio.to_thread(self._install, name)
            bundle = await asyncio.to_thread(self._registry.bundles.find_by_digest, digest)
            await self._registry.prove(bundle)
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
        await self._show()
        return await self.one(manifest.space_id)

    def _install(self, name: str) -> str:
        """Signature and digests first; then it lies in the registry under its digest."""
        store = self._registry.bundles
        waiting = store.find_by_name(name)
        try:
            if self._bundle_key is not None:
                signing.verify_signature(waiting, self._bundle_key)
            return store.install(waiting)
        finally:
            store.discard(waiting)

    async def backfill(self, space_id: str, actor: str) -> SpaceView:
        """Have what is missing filled in; enrolments write to the space from now on.

        Raises SpaceNotFound, SpaceNotReady for the active space.
        """
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            record = await _get(uow, space_id)
            if not await uow.spaces.transition(space_id, FILLABLE, "backfilling"):
                raise SpaceNotReady(f"the space is {record.state}: there is nothing to fill")
            bundle = (await uow.spaces.newest_bundles()).get(space_id)
            if bundle is None:
                raise SpaceNotReady("the space has no registered bundle: register it again")
            await uow.backfills.request(space_id, {})
            await uow.audit.add(actor, "space.backfill", None, {"space_id": space_id})
            await uow.commit()
        self._filler.wake()
        return await self.one(space_id)

    async def activate(self, space_id: str, actor: str) -> SpaceView:
        """Serve this space from now on, here at once and in every replica when it looks next.

        The former one stays written to, so the way back is the same request. Does nothing where it is
        active. Raises SpaceNotFound, SpaceNotReady.
        """
        view = await self.one(space_id)
        if view.record.state == "active":
            return view
        if view.record.state != "ready":
            raise SpaceNotReady(_why_not(view), missing=view.missing)
        # Everything slow before the transaction: the swap itself is one reference.
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
        await self._show()
        return await self.one(space_id)

    async def retire(self, space_id: str, actor: str) -> SpaceView:
        """Write no more templates to it. What it has stays; a backfill brings it back.

        Raises SpaceNotFound, SpaceNotReady for the active space.
        """
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            await _get(uow, space_id)
            await self._retire(uow, space_id)
            await uow.audit.add(actor, "space.retire", None, {"space_id": space_id})
            await uow.commit()
        await self._show()
        return await self.one(space_id)

    async def delete(self, space_id: str, actor: str) -> int:
        """Erase a space with its templates, its log and its bundles; how many templates.

        Raises SpaceNotFound, SpaceNotReady for the active space.
        """
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            await _get(uow, space_id)
            await self._retire(uow, space_id)
            await uow.commit()
        # A replica that has not seen the last swap may still search in it.
        await asyncio.sleep(self._settle_s)
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            record = await _get(uow, space_id)
            if record.state != "retired":
                raise SpaceNotReady(f"somebody made the space {record.state} meanwhile")
            templates = await uow.templates.count(space_id)
            digests = await uow.spaces.delete(space_id)
            detail = {"space_id": space_id, "templates": templates}
            await uow.audit.add(actor, "space.delete", None, detail)
            await uow.commit()
        await self._show()
        for digest in digests:
            await asyncio.to_thread(self._registry.bundles.remove, digest)
        return templates

    async def _retire(self, uow: UnitOfWork, space_id: str) -> None:
        if not await uow.spaces.transition(space_id, (*FILLABLE,), "retired"):
            raise SpaceNotReady("the space is active: activate another one first")
        await uow.backfills.finish(space_id, {})

    async def _show(self) -> None:
        """This process sees at once what was committed; the others when they look next."""
        try:
            await self._registry.follow()
        except StoreError as error:
            log.warning("spaces wait for the database", cause=type(error.__cause__).__name__)

    async def _views(self, uow: UnitOfWork, records: Sequence[SpaceRecord]) -> list[SpaceView]:
        serving, reports = await uow.spaces.newest_bundles(), await uow.backfills.reports()
        views = []
        for record in records:
            bundle, space_id = serving.get(record.space_id), record.space_id
            wanted, report = reports.get(space_id, (False, None))
            missing = await uow.templates.count_missing(space_id)
            alignment = bundle.metrics.get("alignment") if bundle else None
            lacking = await uow.crops.count_unembeddable(space_id, alignment) if missing and alignment else 0
            message = self._registry.trouble.get(space_id) or str((report or {}).get("message", ""))
            if lacking:
                message = f"{lacking} samples have neither a template nor a kept crop: {NOT_KEPT}"
            views.append(
                SpaceView(
                    record,
                    bundle,
                    await uow.templates.count(space_id),
                    missing,
                    None if report is None else {"running": wanted, **report},
                    message,
                )
            )
        return views


async def _get(uow: UnitOfWork, space_id: str) -> SpaceRecord:
    record = await uow.spaces.get(space_id)
    if record is None:
        raise SpaceNotFound("there is no such embedding space")
    return record


def _why_not(view: SpaceView) -> str:
    said = f"the space is {view.record.state} and {view.missing} samples have no template in it"
    return f"{said}: {view.message}" if view.message else f"{said}: backfill it, and wait until it is ready"
