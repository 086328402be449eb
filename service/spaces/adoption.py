"""Registration of the configured bundle at the start; the first space of a database becomes active."""

from __future__ import annotations

import asyncio

from faces.bundle import Bundle, BundleError, Manifest
from faces.types import CONDITIONS, Pair
from service.bundles.registry import BundleStore
from service.store.database import Database
from service.store.records import NewBundle


def require_thresholds(bundle: Bundle) -> None:
    """Raises BundleError if the bundle is not calibrated."""
    if bundle.manifest.calibration is None:
        raise BundleError(f"bundle {bundle.manifest.name} has no thresholds: calibrate it first")


def bundle_metrics(manifest: Manifest) -> dict[str, object]:
    """Facts for the database: alignment, dimension, the id of the calibration, and the FNMR at the default
    FMR in each condition against clear visible references."""
    calibration = manifest.calibration
    if calibration is None:
        return {}
    fmr = calibration.default_fmr
    known = {"alignment": manifest.encoder.alignment, "dimension": manifest.encoder.dimension}
    clear = {str(c): calibration.at(Pair.with_clear_reference(c), fmr).fnmr for c in CONDITIONS}
    return known | {"default_fmr": fmr, "fnmr": clear, "calibration": calibration.id}


def new_bundle(manifest: Manifest, digest: str) -> NewBundle:
    """The row of a bundle to register."""
    return NewBundle(manifest.space_id, digest, manifest.name, manifest.version, bundle_metrics(manifest))


async def adopt(db: Database, bundles: BundleStore, bundle: Bundle) -> None:
    """Registers the bundle if it is new; its space becomes active if no other one is.

    Raises BundleError, OSError, StoreError.
    """
    require_thresholds(bundle)
    manifest = bundle.manifest
    digest = await asyncio.to_thread(bundles.install, bundle)
    async with db.write() as uow:
        await uow.spaces.lock_exclusive()
        known, active = await uow.spaces.has_bundle(digest), await uow.spaces.active()
        if known and active is not None:
            return
        await uow.spaces.register(manifest.space_id, manifest.name, manifest.encoder.dimension)
        if not known:
            await uow.spaces.add_bundle(new_bundle(manifest, digest))
        if active is not None and active.space_id != manifest.space_id:
            # An empty space whose bundle is gone must not keep the service from starting.
            orphan = active.space_id not in await uow.spaces.newest_bundles()
            if orphan and not await uow.templates.count(active.space_id):
                await uow.spaces.set_state(active.space_id, "retired")
                active = None
        if active is None:
            await uow.spaces.set_state(manifest.space_id, "active")
        await uow.commit()
