"""Use cases of an administrator: install thresholds, list their versions, put another one in force."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from service.errors import InvalidParameter, InvalidThresholds, ThresholdsNotFound
from service.spaces.registry import SpaceRegistry
from service.spaces.space import EmbeddingSpace
from service.spaces.threshold_checks import check_table
from service.spaces.threshold_table import CameraThresholds, ThresholdTable
from service.spaces.thresholds import InForce, Installed, same_fmr
from service.store.database import Database
from service.store.errors import StoreError
from service.store.thresholds import ThresholdVersion

log = structlog.get_logger("halflight.admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What an administrator asks for.

    `replace`: forget what the version in force has for other cameras and pairs of conditions, instead of
    keeping it. `activate`: put it in force at once. `default_fmr`: of answers that ask for none.
    """

    table: ThresholdTable
    note: str = ""
    replace: bool = False
    activate: bool = True
    default_fmr: float | None = None


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version; `active`: it is in force in its space, which may be another one than the active space."""

    record: ThresholdVersion
    table: ThresholdTable
    active: bool


class ThresholdAdmin:
    """Each change writes to the audit log in its own transaction."""

    def __init__(self, db: Database, registry: SpaceRegistry) -> None:
        self._db, self._registry = db, registry

    async def all(self) -> list[VersionView]:
        """Every version of every space, newest first."""
        async with self._db.read() as uow:
            records, active = await uow.thresholds.all(), await uow.thresholds.active()
        return [_view(record, active) for record in records]

    async def one(self, version: int) -> VersionView:
        """Raises ThresholdsNotFound."""
        async with self._db.read() as uow:
            record, active = await uow.thresholds.get(version), await uow.thresholds.active()
        if record is None:
            raise ThresholdsNotFound("there is no such version of thresholds")
        return _view(record, active)

    async def install(self, space: EmbeddingSpace, asked: Installation, actor: str) -> VersionView:
        """Stores a new version for the space, and puts it in force unless it is not to be.

        Raises InvalidThresholds, InvalidParameter.
        """
        bundle = space.bundle_calibration
        check_table(asked.table, space.space_id, bundle)
        if asked.default_fmr is not None and not any(same_fmr(asked.default_fmr, f) for f in bundle.common):
            points = ", ".join(f"{fmr:g}" for fmr in bundle.common)
            raise InvalidParameter(f"`default_fmr`: not every pair has a threshold there; all have: {points}")
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            active = await uow.thresholds.active()
            table, default_fmr = asked.table, asked.default_fmr
            former = active.get(space.space_id)
            if former is not None and not asked.replace:
                known = await uow.thresholds.get(former)
                assert known is not None  # noqa: S101 - a foreign key holds it
                old = ThresholdTable.model_validate(known.document)
                # Thresholds for other scores cannot stand beside these.
                table = _joined(old, table) if old.cohort == table.cohort else table
                default_fmr = known.default_fmr if default_fmr is None else default_fmr
            # What would not load must not be stored.
            try:
                await asyncio.to_thread(InForce, bundle, Installed(0, table, default_fmr))
            except ValueError as error:
                raise InvalidThresholds("these thresholds do not fit those of the bundle") from error
            record = await uow.thresholds.add(
                space.space_id,
                table.model_dump(mode="json"),
                default_fmr=default_fmr,
                note=asked.note,
                actor=actor,
            )
            detail = {
                "version": record.version,
                "space_id": space.space_id,
                "cameras": [one.camera for one in asked.table.cameras],
                "default_fmr": default_fmr,
                "activate": asked.activate,
                "former": former,
            }
            await uow.audit.add(actor, "thresholds.install", None, detail)
            if asked.activate:
                await uow.thresholds.activate(space.space_id, record.version)
                active[space.space_id] = record.version
            await uow.commit()
        await self._follow()
        return _view(record, active)

    async def activate(self, space: EmbeddingSpace, version: int | None, actor: str) -> None:
        """Puts a version in force in the space, or with None the bundle's own thresholds.

        Raises ThresholdsNotFound, and InvalidThresholds for a version of another space.
        """
        async with self._db.write() as uow:
            await uow.spaces.lock_exclusive()
            if version is not None:
                record = await uow.thresholds.get(version)
                if record is None:
                    raise ThresholdsNotFound("there is no such version of thresholds")
                table = ThresholdTable.model_validate(record.document)
                check_table(table, space.space_id, space.bundle_calibration)
            former = (await uow.thresholds.active()).get(space.space_id)
            await uow.thresholds.activate(space.space_id, version)
            detail = {"version": version, "space_id": space.space_id, "former": former}
            await uow.audit.add(actor, "thresholds.activate", None, detail)
            await uow.commit()
        await self._follow()

    async def _follow(self) -> None:
        """Applies the commit to this process at once; other replicas follow at their next poll."""
        try:
            await self._registry.follow()
        except StoreError as error:
            log.warning("thresholds wait for the database", cause=type(error.__cause__).__name__)


def tables_in_force(in_force: InForce) -> list[CameraThresholds]:
    """What decides: first for probes of no camera of their own, then for each camera that has its own."""
    return [
        CameraThresholds(camera=camera, pairs=in_force.of(camera).calibration.pairs)
        for camera in (None, *in_force.cameras)
    ]


def _view(record: ThresholdVersion, active: dict[str, int]) -> VersionView:
    table = ThresholdTable.model_validate(record.document)
    return VersionView(record, table, active.get(record.space_id) == record.version)


def _joined(former: ThresholdTable, new: ThresholdTable) -> ThresholdTable:
    """The new thresholds, and of the former ones those of other cameras and pairs of conditions."""
    cameras = []
    for camera in dict.fromkeys(one.camera for one in (*former.cameras, *new.cameras)):
        pairs = former.pairs_of(camera) | new.pairs_of(camera)
        cameras.append(CameraThresholds(camera=camera, pairs=tuple(pairs[pair] for pair in sorted(pairs))))
    return new.model_copy(update={"cameras": tuple(cameras)})
